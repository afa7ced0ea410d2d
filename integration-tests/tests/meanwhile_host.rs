//! The client on libmeanwhile starts, and says why it cannot sign in.

use std::time::Duration;

use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::ports::ReservedPort;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_server_that_is_not_there_is_a_refused_connection() {
    let port = ReservedPort::any();
    let mut client = MeanwhileClient::start(port.address(), "alice", "secret");
    let (code, reason) = client.expect_stopped(SOON);
    assert_eq!(code, -1);
    assert!(reason.contains("refused"), "{reason}");
    client.expect_no_warning();
}
