//! The wire from outside: a scripted backend behind a real socket, and our client in front of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "support/fake.rs"]
mod fake;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fake::{Asked, ScriptedBackend};
use futures_util::StreamExt;
use hostler::domain::*;
use hostler::wire::{Client, Server, socket_path};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct ScriptedServer {
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl ScriptedServer {
    fn new(state_dir: &Path, fake: &Arc<ScriptedBackend>) -> Self {
        let stop = CancellationToken::new();
        let server = Server::bind(state_dir).unwrap();
        let task = tokio::spawn(server.run(fake.clone(), stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

/// Fails a test that would hang; nothing is measured with it.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it never came")
}

async fn connect(dir: &Path) -> Client {
    Client::connect(&socket_path(dir)).await.unwrap()
}

/// Speaks to the socket without our client, as another program would.
async fn raw(dir: &Path, request: &str) -> String {
    let mut socket = tokio::net::UnixStream::connect(socket_path(dir)).await.unwrap();
    // A server that has read enough hangs up while more is sent; its answer is there all the same.
    let _broken_pipe = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = within(socket.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn nothing_is_lost_between_client_and_backend() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    let client = connect(dir.path()).await;

    assert_eq!(client.catalogue(), fake::catalogue());

    let questions = [
        Query::List(List {
            of: Subject::Resources(Vm::KIND),
            filter: Filter::parse(
                "web state:running -cpu>50.5 created:today",
                Subject::Resources(Vm::KIND),
                &jiff::Zoned::now(),
            )
            .unwrap(),
            sort: Some(Sort { column: "name".into(), descending: true }),
            offset: 40,
            limit: 20,
            around: Some(3),
        }),
        Query::Operation { uid: Uid(9) },
        Query::Preview(Submit { kind: "vm_create".into(), ..Submit::default() }),
    ];
    let answers = [
        Answer::Page(Page {
            total: 1,
            offset: 0,
            rows: Rows::Resources(vec![fake::vm(3, "wéb-✔")]),
        }),
        Answer::Operation(Box::new(OperationDetail {
            operation: fake::operation(9, State::Error),
            steps: Vec::new(),
            children: Vec::new(),
            more_children: 0,
        })),
        Answer::Preview(Preview { space: Some(u64::MAX), ..Preview::default() }),
    ];
    for (question, answer) in questions.iter().zip(answers) {
        fake.will_answer(Ok(answer.clone()));
        assert_eq!(client.query(question.clone()).await.unwrap(), answer);
        assert_eq!(fake.asked().last(), Some(&Asked::Query(question.clone())));
    }

    for control in [
        Control::Cancel { uid: Uid(4) },
        Control::Lane { name: "vm".into(), change: LaneChange::Width(8) },
        Control::Lane { name: "vm".into(), change: LaneChange::Drain },
    ] {
        client.control(control.clone()).await.unwrap();
        assert_eq!(fake.asked().last(), Some(&Asked::Control(control)));
    }
    served.stop().await;
}

#[tokio::test]
async fn errors_arrive_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    let client = connect(dir.path()).await;

    let pending = BackendError::Refused(Refusal::field(
        Reason::OperationPending { uid: Uid(48_211) },
        "vm",
        "3",
        "vm/3 is already being rebooted by #48211; wait for it",
    ));
    fake.accepted.lock().unwrap().push_back(Err(pending.clone()));
    assert_eq!(client.submit(Submit::default()).await, Err(pending));

    let gone = BackendError::not_found("vm/9");
    fake.will_answer(Err(gone.clone()));
    assert_eq!(client.query(Query::Counts).await, Err(gone));

    let full = BackendError::failed("the disk is full");
    fake.controlled.lock().unwrap().push_back(Err(full.clone()));
    assert_eq!(client.control(Control::Cancel { uid: Uid(1) }).await, Err(full));
    served.stop().await;
}

#[tokio::test]
async fn the_server_says_who_asked() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    let client = connect(dir.path()).await;

    let submit = Submit {
        kind: "vm_delete".into(),
        params: json!({"vm": 3}).as_object().unwrap().clone(),
        actor: "console:somebody-else".into(),
        priority: -2,
        key: Some("deploy 7".into()),
    };
    assert_eq!(client.submit(submit.clone()).await.unwrap().uid, Uid(1));

    let own = rustix::process::geteuid().as_raw();
    let user = hostler::wire::native::user_name(own);
    let expected = Submit { actor: format!("console:{user}"), ..submit };
    assert_eq!(fake.asked(), [Asked::Submit(expected)]);
    served.stop().await;
}

#[tokio::test]
async fn events_come_in_order_and_the_stream_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    let client = connect(dir.path()).await;
    let mut events = client.subscribe();

    // From `Missed` on, nothing escapes.
    assert_eq!(within(events.next()).await.unwrap().fact, Fact::Missed);
    for seq in 1..=100 {
        let receivers = fake.tell(seq, Fact::Operation(fake::operation(seq, State::Run).into()));
        assert_eq!(receivers, 1);
    }
    for seq in 1..=100 {
        let event = within(events.next()).await.unwrap();
        assert_eq!((event.life, event.seq), (7, seq));
        assert_eq!(event.fact, Fact::Operation(fake::operation(seq, State::Run).into()));
    }

    served.stop().await;
    let lost = within(events.next()).await.unwrap();
    assert_eq!(lost.life, 0);
    assert!(matches!(&lost.fact, Fact::Lost { why } if !why.is_empty()), "{lost:?}");

    let served = ScriptedServer::new(dir.path(), &fake);
    let back = within(events.next()).await.unwrap();
    assert_eq!((back.life, back.fact), (0, Fact::Missed), "one loss is told once");
    fake.tell(101, Fact::Notice { message: "here again".into() });
    assert_eq!(within(events.next()).await.unwrap().seq, 101);
    served.stop().await;
}

#[tokio::test]
async fn the_serial_line_goes_both_ways_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    let client = connect(dir.path()).await;
    let mut typed = fake.typed.subscribe();

    assert_eq!(client.serial(9).await.unwrap_err(), BackendError::not_found("vm/9"));

    let mut serial = client.serial(3).await.unwrap();
    fake.guest_writes(b"login: \xff\x00");
    assert_eq!(within(serial.output.next()).await.unwrap(), b"login: \xff\x00");

    let mut expected = Vec::new();
    for key in 0..500_u32 {
        let bytes = format!("{key}\r").into_bytes();
        serial.input.send(&bytes).unwrap();
        expected.extend(bytes);
    }
    let mut got = Vec::new();
    while got.len() < expected.len() {
        got.extend(within(typed.recv()).await.unwrap());
    }
    assert_eq!(got, expected);

    fake.guest_stops();
    while let Some(more) = within(serial.output.next()).await {
        assert!(!more.is_empty());
    }
    // The line is closed at this end too, as soon as the server has said so.
    within(async {
        while serial.input.send(b"x").is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    served.stop().await;
}

#[tokio::test]
async fn the_socket_is_the_owners_alone_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    // What a killed process leaves behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(socket_path(dir.path())).unwrap());
    let served = ScriptedServer::new(dir.path(), &fake);
    let socket = socket_path(dir.path());
    let metadata = std::fs::metadata(&socket).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing lies beside it");
    connect(dir.path()).await;
    served.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_copy_made_of_hard_links_does_not_reach_the_backend_of_the_original() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let served = ScriptedServer::new(dir.path(), &ScriptedBackend::new());
    // An owner has its directory's lock open.
    let _lock = std::fs::File::create(dir.path().join("hostler.lock")).unwrap();
    for file in ["hostler.lock", "hostler.sock"] {
        std::fs::hard_link(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    let error = Client::connect(&socket_path(copy.path())).await.unwrap_err();
    assert!(matches!(error, BackendError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("was copied with hard links"), "{error}");
    connect(dir.path()).await;
    served.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let socket = socket_path(dir.path());
    for prepare in [false, true] {
        if prepare {
            drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        }
        let error = Client::connect(&socket).await.unwrap_err();
        assert!(matches!(error, BackendError::Unreachable { .. }), "{error:?}");
        let text = error.to_string();
        let start = format!("could not reach the backend on {}: ", socket.display());
        assert!(text.starts_with(&start), "{text}");
        assert!(text.ends_with("; is hostler running there?"), "{text}");
        assert!(!text.contains('\n'));
    }
}

#[tokio::test]
async fn a_request_between_two_backends_is_heard_by_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    let client = connect(dir.path()).await;
    served.stop().await;
    let mut asking = Box::pin(client.submit(Submit::default()));
    assert!(futures_util::poll!(&mut asking).is_pending());
    let served = ScriptedServer::new(dir.path(), &fake);
    within(asking).await.unwrap();
    assert_eq!(fake.asked().len(), 1, "and by it alone");
    served.stop().await;
}

#[tokio::test]
async fn a_server_knows_who_is_there_and_whom_it_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    for stays in [false, true] {
        let server = Server::bind(dir.path()).unwrap();
        let (clients, stop) = (server.clients(), CancellationToken::new());
        let task = tokio::spawn(server.run(ScriptedBackend::new(), stop.clone()));
        within(clients.gone()).await;
        let client = connect(dir.path()).await;
        let mut gone = Box::pin(clients.gone());
        assert!(futures_util::poll!(&mut gone).is_pending());
        let client = stays.then_some(client);
        if !stays {
            within(gone).await;
        }
        stop.cancel();
        within(task).await.unwrap().unwrap();
        assert_eq!(clients.were_cut_off(), stays);
        drop(client);
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    let post = |body: &str| {
        format!(
            "POST /v1/query HTTP/1.1\r\nhost: x\r\nconnection: \
                close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (request, status, word) in [
        (post("{\"query\":"), "400", "not understood"),
        (post("{\"query\":\"hunter22\"}"), "400", "expected one of"),
        (post("{\"query\":[\"hunter22, expected hunter22\"]}"), "400", "line 1 column"),
        (post("{\"hunter22\":1}"), "400", "line 1 column"),
        (post(&"x".repeat(5 << 20)), "422", "4194304"),
        ("GET /v2/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "404", "GET /v2/x"),
        ("PUT /v1/query HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "404", "PUT"),
        (
            "GET /v1/vms/x/serial HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
            "404",
            "vm/x",
        ),
    ] {
        let answer = raw(dir.path(), &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let error: BackendError = serde_json::from_str(body).unwrap();
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("hunter22"), "{error}");
    }
    assert!(fake.asked().is_empty());
    served.stop().await;
}

/// Runs in the child that the next test starts as another user.
#[tokio::test]
#[ignore = "started by a_stranger_is_refused"]
async fn as_a_stranger() {
    let dir = std::env::var_os("HOSTLER_TEST_DIR").expect("started by the other test");
    let error = Client::connect(&socket_path(Path::new(&dir))).await.unwrap_err();
    let BackendError::Refused(refusal) = error else { panic!("{error:?}") };
    assert_eq!(refusal.reason, Reason::Privileges);
    assert!(refusal.message.contains("may not use this backend"), "{}", refusal.message);
}

#[tokio::test]
async fn a_stranger_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: nobody else can be tried");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let fake = ScriptedBackend::new();
    let served = ScriptedServer::new(dir.path(), &fake);
    // Even with the doors open: the mode is one lock, the kernel's word on who it is another.
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    open(dir.path());
    open(&socket_path(dir.path()));
    let program = dir.path().join("stranger");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    open(&program);

    let mut child = std::process::Command::new(&program);
    child
        .args(["--exact", "as_a_stranger", "--ignored"])
        .env("HOSTLER_TEST_DIR", dir.path())
        .current_dir("/")
        .uid(65534)
        .gid(65534);
    let child = within(tokio::task::spawn_blocking(move || child.output())).await.unwrap().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
    served.stop().await;
}
