//! A member's request for a certificate: reading never panics, and what is granted names only domains.

#![no_main]

use interchange_authority::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| match Request::read(data) {
    Ok(request) => {
        for domain in request.domains() {
            assert_eq!(interchange_model::Domain::parse(domain.as_str()).as_ref(), Ok(domain));
        }
    }
    Err(error) => drop(error.to_string()),
});
