//! An LDAP directory: OpenLDAP's slapd.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::certificates::{Authority, Leaf};
use crate::ports::ReservedPort;
use crate::processes::{Directory, Program};

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// Below it are people.
pub const BASE: &str = "ou=people,dc=acme,dc=example";
/// The service account, which alone may search.
pub const SERVICE: &str = "cn=interchange,dc=acme,dc=example";
/// Its password.
pub const SERVICE_PASSWORD: &str = "search-for-me";

/// Somebody in the directory.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// `uid`
    pub user: &'static str,
    /// `cn`
    pub name: &'static str,
    /// `mail`
    pub mail: &'static str,
    /// `userPassword`; none, where it is empty.
    pub password: &'static str,
}

/// The files of a directory and its ports, which outlive the process.
#[derive(Debug)]
pub struct SlapdFiles {
    directory: Directory,
    /// LDAP and StartTLS.
    pub clear: ReservedPort,
    /// LDAP over TLS.
    pub secure: ReservedPort,
}

/// A running directory.
#[derive(Debug)]
pub struct Slapd {
    program: Program,
}

impl SlapdFiles {
    /// A directory with these people, at a server with a certificate for `localhost`.
    pub fn new(authority: &Authority, people: &[Person]) -> Self {
        let directory = Directory::new("slapd-files");
        let (clear, secure) = (ReservedPort::any(), ReservedPort::any());
        let identity = authority.issue(&Leaf::host("localhost")).write(&directory, "server");
        let ca = directory.write("ca.pem", authority.certificate());
        let data = directory.create("data");
        // Nobody may read but the service account; a password may be tried by anybody, and read by nobody.
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             TLSCACertificateFile {}\nTLSCertificateFile {}\nTLSCertificateKeyFile {}\nsizelimit 100\n\
             database mdb\nmaxsize 16777216\nsuffix dc=acme,dc=example\ndirectory {}\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"{SERVICE}\" read by * none\n",
            ca.display(),
            identity.certificate.display(),
            identity.private_key.display(),
            data.display()
        );
        let configuration = directory.write("slapd.conf", &configuration);
        let mut entries = format!(
            "dn: dc=acme,dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: acme\no: Acme\n\n\
             dn: {BASE}\nobjectClass: organizationalUnit\nou: people\n\n\
             dn: {SERVICE}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: interchange\nuserPassword: {SERVICE_PASSWORD}\n\n"
        );
        for Person { user, name, mail, password } in people {
            let surname = name.rsplit(' ').next().unwrap_or(name);
            let _ = write!(
                entries,
                "dn: uid={user},{BASE}\nobjectClass: inetOrgPerson\nuid: {user}\ncn: {name}\nsn: {surname}\nmail: {mail}\n{}\n",
                if password.is_empty() { String::new() } else { format!("userPassword: {password}\n") }
            );
        }
        let entries = directory.write("people.ldif", &entries);
        let files = Self { directory, clear, secure };
        let output = files.tool("slapadd", &configuration).arg("-l").arg(entries).output().expect("slapadd runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        files
    }

    /// The binary under a name by which it knows what to do. A copy, since Debian's profile for AppArmor lets the installed one read nothing of a test.
    fn tool(&self, name: &str, configuration: &Path) -> Command {
        let copy: PathBuf = self.directory.path().join(name);
        if !copy.exists() {
            // By another process: while this one has the file open for writing, a program that another thread starts has it too, and nobody may run it.
            let copied = Command::new("cp").arg("/usr/sbin/slapd").arg(&copy).status();
            assert!(copied.is_ok_and(|status| status.success()), "slapd is installed: run scripts/install-test-tools.sh");
        }
        let mut command = Command::new(copy);
        command.arg("-f").arg(configuration);
        command
    }

    /// Starts it.
    pub fn start(&self) -> Slapd {
        let mut command = self.tool("slapd", &self.directory.path().join("slapd.conf"));
        let [clear, secure] = [&self.clear, &self.secure].map(|port| port.address());
        // With a level of debugging it stays in the foreground; this one logs each operation.
        command.args(["-d", "256", "-h", &format!("ldap://{clear} ldaps://{secure}")]);
        let mut program = Program::start(Directory::new("slapd"), command);
        program.wait_for_listeners(&[clear, secure], LISTENS_WITHIN);
        Slapd { program }
    }
}

impl Slapd {
    /// What it has logged: each connection, bind and search.
    pub fn log(&self) -> String {
        self.program.output()
    }
}
