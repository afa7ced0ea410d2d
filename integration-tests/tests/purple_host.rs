//! The headless client on libpurple starts, has the protocols, and says why it cannot sign on.

use std::time::Duration;

use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::purple_client::{PurpleAccount, PurpleClient};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_server_that_is_not_there_is_a_network_error_in_both_protocols() {
    let port = ReservedPort::any();
    for account in
        [PurpleAccount::ocs("alice@contoso.example", port.address()), PurpleAccount::sametime("alice", "secret", port.address())]
    {
        let mut client = PurpleClient::start(&account);
        let (reason, text) = client.expect_connection_error(SOON);
        assert_eq!(reason, "network", "{text}");
    }
}
