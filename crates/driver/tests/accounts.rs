//! Questions about people who sign in at the hub: each is answered once, and the loop waits for none.

mod common;

use std::time::Duration;

use common::*;
use interchange_adapter::{Account, ConnId, Input, Output, Password, SignInError};
use interchange_driver::AccountQuestion;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

fn account(user: &str) -> Account {
    Account { user: user.into(), display_name: None }
}

fn sign_in(conn: ConnId, name: &str) -> Output {
    let password = Password::new("secret".into()).unwrap();
    Output::Authenticate { conn, link: "acme".into(), name: name.into(), password }
}

fn look_up(conn: ConnId, query: u64) -> Output {
    Output::LookUp { conn, query, link: "acme".into(), name: "bo".into() }
}

async fn authenticated(puppet: &mut Puppet) -> (ConnId, Result<Account, SignInError>) {
    match puppet.next().await {
        Input::Authenticated { conn, result } => (conn, result),
        other => panic!("not authenticated: {other:?}"),
    }
}

async fn found(puppet: &mut Puppet) -> (u64, Result<Vec<Account>, SignInError>) {
    match puppet.next().await {
        Input::Found { query, result, .. } => (query, result),
        other => panic!("not found: {other:?}"),
    }
}

async fn puppet(room: usize) -> (Puppet, ConnId, TcpStream, mpsc::Receiver<AccountQuestion>) {
    let (accounts, questions) = mpsc::channel(room);
    let mut puppet = Puppet::start(Options { accounts: Some(accounts), ..Options::default() }, |_, _| {}).await;
    let tcp = within(TcpStream::connect(puppet.address())).await.unwrap();
    let (conn, _) = puppet.opened().await;
    (puppet, conn, tcp, questions)
}

#[tokio::test]
async fn a_question_reaches_who_knows_and_the_answer_comes_back() {
    let (mut puppet, conn, tcp, mut questions) = puppet(8).await;
    puppet.act([sign_in(conn, "Alice"), look_up(conn, 7)]).await;
    let (
        AccountQuestion::SignIn { link, peer, name, password, answer },
        AccountQuestion::LookUp { name: sought, answer: list, .. },
    ) = (within(questions.recv()).await.unwrap(), within(questions.recv()).await.unwrap())
    else {
        panic!("other questions, or in another order")
    };
    assert_eq!((link.as_str(), name.as_str(), sought.as_str(), password.reveal()), ("acme", "Alice", "bo", "secret"));
    assert_eq!(peer, Some(tcp.local_addr().unwrap().ip()));
    // The answers may come in any order, and what the adapter does meanwhile is not held up.
    puppet.send(conn, "hello").await;
    let mut tcp = tcp;
    expect(&mut tcp, b"hello").await;
    assert!(puppet.try_next().is_none(), "nobody has answered yet");
    list.send(Ok((0..60).map(|n| account(&format!("bo{n}"))).collect())).unwrap();
    let (query, people) = found(&mut puppet).await;
    let people = people.unwrap();
    assert_eq!((query, people.len(), people[49].user.as_str()), (7, 50, "bo49"), "50 are the most");
    answer.send(Ok(account("alice"))).unwrap();
    assert_eq!(authenticated(&mut puppet).await, (conn, Ok(account("alice"))));
}

#[tokio::test]
async fn where_nobody_knows_the_adapter_is_told_at_once() {
    // Nobody at all.
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let _tcp = within(TcpStream::connect(puppet.address())).await.unwrap();
    let (conn, _) = puppet.opened().await;
    puppet.act([sign_in(conn, "alice")]).await;
    assert_eq!(authenticated(&mut puppet).await, (conn, Err(SignInError::Unavailable)));
    puppet.act([look_up(conn, 1)]).await;
    assert_eq!(found(&mut puppet).await, (1, Err(SignInError::Unavailable)));
    drop(puppet);

    // Nobody with room: each question has its own answer all the same.
    let (mut puppet, conn, _tcp, mut questions) = self::puppet(1).await;
    puppet.act([sign_in(conn, "first"), look_up(conn, 2), look_up(conn, 3)]).await;
    let mut told = [found(&mut puppet).await, found(&mut puppet).await].map(|(query, result)| (query, result.is_err()));
    told.sort_unstable();
    assert_eq!(told, [(2, true), (3, true)]);
    let Some(AccountQuestion::SignIn { answer, .. }) = within(questions.recv()).await else { panic!("another question") };
    answer.send(Err(SignInError::Wrong)).unwrap();
    assert_eq!(authenticated(&mut puppet).await, (conn, Err(SignInError::Wrong)));

    // Somebody who forgets the question.
    puppet.act([sign_in(conn, "second")]).await;
    drop(within(questions.recv()).await);
    assert_eq!(authenticated(&mut puppet).await, (conn, Err(SignInError::Unavailable)));
}

#[tokio::test]
async fn an_answer_comes_also_when_the_connection_is_gone() {
    let (mut puppet, conn, tcp, mut questions) = puppet(1).await;
    puppet.act([sign_in(conn, "alice")]).await;
    let Some(AccountQuestion::SignIn { answer, .. }) = within(questions.recv()).await else { panic!("another question") };
    drop(tcp);
    puppet.closed().await;
    answer.send(Ok(account("alice"))).unwrap();
    assert_eq!(authenticated(&mut puppet).await, (conn, Ok(account("alice"))));
}

#[tokio::test]
async fn nobody_waits_longer_than_promised() {
    let (mut puppet, conn, _tcp, mut questions) = puppet(1).await;
    puppet.act([sign_in(conn, "alice")]).await;
    let kept = within(questions.recv()).await;
    // Virtual from here on: nothing but the limit can end the wait.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15)).await;
    tokio::time::resume();
    assert_eq!(authenticated(&mut puppet).await, (conn, Err(SignInError::Unavailable)));
    drop(kept);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_answers() {
    let (mut puppet, conn, tcp, mut questions) = puppet(1).await;
    puppet.act([sign_in(conn, "alice")]).await;
    let kept = within(questions.recv()).await;
    drop(tcp);
    puppet.closed().await;
    puppet.driver.stop();
    let begun = std::time::Instant::now();
    puppet.driver.stopped().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(kept);
}
