//! RabbitMQ servers of the tests.
