//! Steps of a message's way at which a test can make the hub die.

/// Names a step. In a build with the feature `failpoints`, and only there, the environment `FAILPOINTS="NAME=20*off->return"` makes the
/// process die, as by SIGKILL, when it comes to the step for the 21st time. `late`: what was said to another task just before has time
/// to leave the process.
#[cfg(feature = "failpoints")]
macro_rules! step {
    ($name:literal) => {
        fail::fail_point!($name, |_| std::process::abort())
    };
    ($name:literal, late) => {
        fail::fail_point!($name, |_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::process::abort()
        })
    };
}

/// Nothing: see the other.
#[cfg(not(feature = "failpoints"))]
macro_rules! step {
    ($($step:tt)*) => {};
}

pub(crate) use step;
