//! Submit, route, deliver, bounce and trace: the only place that decides where a message goes.
