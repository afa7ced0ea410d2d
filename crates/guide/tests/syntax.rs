//! What is pasted, read by the programs that it is for, where they are installed; each test passes without them.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use interchange_guide::{Facts, Guide, Language, Product, guide};

fn all_facts() -> [Facts; 3] {
    [common::own(), common::public(), common::least()]
}

/// The snippets of a guide in one language, in order.
fn snippets(guide: &Guide, language: Language) -> Vec<&str> {
    guide
        .steps
        .iter()
        .filter_map(|step| step.snippet.as_ref())
        .filter(|snippet| snippet.language == language)
        .map(|snippet| snippet.content.as_str())
        .collect()
}

/// The first of these programs that is in one of the usual folders.
fn installed(programs: &[&str]) -> Option<PathBuf> {
    let found = programs.iter().find_map(|program| {
        let folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
        folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
    });
    if found.is_none() {
        eprintln!("not installed, so not asked: {programs:?}");
    }
    found
}

fn assert_content(output: &Output, what: &str) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{what}");
}

fn write(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn lua_is_lua() {
    let Some(program) = installed(&["luac", "luac5.4", "luac5.3"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    for facts in all_facts() {
        let guide = guide(Product::Prosody, &facts);
        let found = snippets(&guide, Language::Lua);
        assert_eq!(found.len(), 2);
        for content in found {
            let path = write(directory.path(), "prosody.cfg.lua", content);
            assert_content(&Command::new(&program).arg("-p").arg(path).output().unwrap(), content);
        }
    }
}

#[test]
fn prosody_finds_no_fault() {
    let Some(program) = installed(&["prosodyctl"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("certs")).unwrap();
    for facts in all_facts() {
        let snippets = snippets(&guide(Product::Prosody, &facts), Language::Lua).concat();
        let content = format!(
            "modules_enabled = {{ \"s2s\"; \"tls\"; \"saslauth\"; \"smacks\"; \"dialback\" }}\npidfile = \"{}\"\n{snippets}\n\
             VirtualHost \"acme.example\"\n",
            directory.path().join("prosody.pid").display()
        );
        let path = write(directory.path(), "prosody.cfg.lua", &content);
        let output = Command::new(&program).arg("--config").arg(path).args(["check", "config"]).output().unwrap();
        assert_content(&output, &content);
    }
}

#[test]
fn erlang_reads_its_terms() {
    let Some(program) = installed(&["erl"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let guide = guide(Product::Ejabberd, &common::own());
    let [content] = snippets(&guide, Language::Erlang)[..] else { panic!("one file") };
    write(directory.path(), "inetrc", content);
    let expression = "case file:consult(\"inetrc\") of {ok, [_, _, _]} -> halt(0); _ -> halt(1) end.";
    let output = Command::new(&program)
        .args(["-noshell", "-noinput", "-eval", expression])
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .output()
        .unwrap();
    assert_content(&output, content);
}

#[test]
fn dnsmasq_takes_the_route() {
    let Some(program) = installed(&["dnsmasq"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    for facts in all_facts() {
        for product in [Product::Prosody, Product::Ejabberd] {
            let guide = guide(product, &facts);
            let [content] = snippets(&guide, Language::Dnsmasq)[..] else { panic!("one for {product}") };
            let path = write(directory.path(), "interchange.conf", content);
            assert_content(&Command::new(&program).arg("--test").arg("-C").arg(path).output().unwrap(), content);
        }
    }
}

#[test]
fn kamailio_takes_its_snippets() {
    let Some(program) = installed(&["kamailio"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    for facts in all_facts() {
        let guide = guide(Product::Kamailio, &facts);
        let [table, route] = snippets(&guide, Language::Kamailio)[..] else { panic!("two snippets") };
        let modules: String =
            ["tm", "sl", "rr", "pv", "maxfwd", "usrloc", "registrar", "textops", "siputils", "xlog", "sanity", "htable", "tls"]
                .map(|module| format!("loadmodule \"{module}.so\"\n"))
                .concat();
        let content = format!(
            "#!KAMAILIO\nenable_tls=yes\nlisten=udp:127.0.0.1:5060\nlisten=tls:127.0.0.1:5061\n\
             mpath=\"/usr/lib/{}-linux-gnu/kamailio/modules/\"\n{modules}\n{table}\nrequest_route {{\n{route}\n\
             if (!lookup(\"location\")) {{ sl_send_reply(\"404\", \"Not Found\"); exit; }}\nt_relay();\n}}\n",
            std::env::consts::ARCH
        );
        let path = write(directory.path(), "kamailio.cfg", &content);
        let output = Command::new(&program).arg("-c").arg("-f").arg(path).arg("-Y").arg(directory.path()).output().unwrap();
        assert_content(&output, &content);
    }
}

#[test]
fn a_shell_reads_the_commands() {
    let Some(program) = installed(&["sh"]) else { return };
    for facts in all_facts() {
        for product in Product::ALL {
            for content in snippets(&guide(product, &facts), Language::Shell) {
                assert_content(&Command::new(&program).arg("-n").arg("-c").arg(content).output().unwrap(), content);
            }
        }
    }
}

#[test]
fn openssl_makes_the_request() {
    let Some(program) = installed(&["openssl"]) else { return };
    let mut long = common::own();
    long.member_domains = vec![common::domain(&format!("{}.{}.example", "a".repeat(60), "b".repeat(60)))];
    for facts in [common::own(), long] {
        let directory = tempfile::tempdir().unwrap();
        let guide = guide(Product::OtherSip, &facts);
        let [content] = snippets(&guide, Language::Shell)[..] else { panic!("one request") };
        let output = Command::new("sh").arg("-c").arg(content).current_dir(directory.path()).output().unwrap();
        assert_content(&output, content);
        let request = format!("{}.csr", facts.member_domains[0]);
        let shown = Command::new(&program)
            .args(["req", "-in", &request, "-noout", "-text", "-verify"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert_content(&shown, &request);
        let text = String::from_utf8(shown.stdout).unwrap();
        for domain in &facts.member_domains {
            assert!(text.contains(&format!("DNS:{domain}")), "{text}");
        }
    }
}
