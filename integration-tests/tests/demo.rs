//! The demonstration: messages cross both ways, Ctrl-C ends it in good order, and a second run works.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use interchange_integration_tests::hub::binary;
use interchange_integration_tests::processes::Directory;
use rustix::process::{Pid, Signal, kill_process};

const CROSSES_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn messages_cross_and_an_interrupt_ends_it_twice() {
    let directory = Directory::new("demo");
    for run in 1..=2 {
        let mut demo = Command::new(binary())
            .args(["demo", "--rate", "5", "--directory"])
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demonstration starts");
        let mut lines = BufReader::new(demo.stdout.take().expect("its output is piped")).lines().map_while(Result::ok);
        let began = Instant::now();
        let mut wanted = vec![("xmpp → sip", "delivered"), ("sip → xmpp", "delivered"), ("xmpp → sip", "failed: no-such-user")];
        while !wanted.is_empty() {
            assert!(began.elapsed() < CROSSES_WITHIN, "run {run}: still to come: {wanted:?}");
            let line = lines.next().unwrap_or_else(|| panic!("run {run} ended before {wanted:?}"));
            wanted.retain(|(way, state)| !(line.contains(way) && line.contains(state)));
        }
        kill_process(Pid::from_child(&demo), Signal::INT).expect("it still runs");
        let rest: Vec<String> = lines.collect();
        assert!(rest.iter().any(|line| line.contains("messages delivered")), "run {run}: {rest:?}");
        assert!(began.elapsed() < CROSSES_WITHIN + ENDS_WITHIN);
        assert!(demo.wait().expect("its end can be waited for").success(), "run {run}");
    }
}
