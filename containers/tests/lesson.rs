//! The walkthrough's server and two clients as containers on a private network.

#![expect(clippy::unwrap_used, reason = "tests")]

mod engine;

use std::net::IpAddr;
use std::time::Duration;

use engine::{LoadedImage, engine as connect, exec};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::time::{sleep, timeout};

/// How long a log may take to grow.
const PATIENCE: Duration = Duration::from_secs(20);
/// A response that was under way has been logged by then: five of the clients' intervals.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// For how long a log is seen not to grow: ten of the clients' intervals.
const WATCHED: Duration = Duration::from_secs(1);

struct Lesson {
    server: ContainerAsync<GenericImage>,
    clients: [ContainerAsync<GenericImage>; 2],
    // Dropped last: the engine keeps an image that has containers.
    _loaded: LoadedImage,
}

impl Lesson {
    async fn start(test: &str, change: fn(ContainerRequest<GenericImage>) -> ContainerRequest<GenericImage>) -> Lesson {
        let loaded = LoadedImage::new(test).await;
        let network = format!("netpol-{test}-{}", std::process::id());
        let container = |arguments: &[&str]| {
            let request = loaded.image().with_cmd(arguments.iter().copied()).with_network(&network);
            change(request.with_readonly_rootfs(true)).start()
        };
        let server = container(&["agent", "server", "--port", "8888"]).await.unwrap();
        let target = format!("http://{}:8888/", address(&server).await);
        let client = ["agent", "client", "--target", &target, "--interval", "100ms", "--port", "8888"];
        let clients = [container(&client).await.unwrap(), container(&client).await.unwrap()];
        Lesson { server, clients, _loaded: loaded }
    }
}

async fn address(container: &ContainerAsync<GenericImage>) -> IpAddr {
    container.get_bridge_ip_address().await.unwrap()
}

async fn log(container: &ContainerAsync<GenericImage>) -> Vec<String> {
    let log = container.stdout_to_vec().await.unwrap();
    String::from_utf8(log).unwrap().lines().map(str::to_owned).collect()
}

/// Waits until a log has more lines than it had.
async fn grows(container: &ContainerAsync<GenericImage>, lines: usize) {
    let grown = async {
        while log(container).await.len() <= lines {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, grown).await.unwrap_or_else(|_| panic!("the log stays at {lines} lines"));
}

#[tokio::test]
async fn clients_log_a_line_per_response_which_stops_and_grows_with_the_server() {
    let lesson = Lesson::start("lesson", |request| request).await;
    let server = address(&lesson.server).await;
    for client in &lesson.clients {
        grows(client, 5).await;
        let own = address(client).await;
        for line in log(client).await {
            assert!(line.contains(&format!(" 200 from {server}:8888: ")), "{line}");
            assert!(line.contains(&own.to_string()), "the server saw another address than {own}: {line}");
        }
    }

    lesson.server.pause().await.unwrap();
    sleep(IN_FLIGHT).await;
    for client in &lesson.clients {
        let before = log(client).await;
        sleep(WATCHED).await;
        assert_eq!(log(client).await, before);
    }

    lesson.server.unpause().await.unwrap();
    for client in &lesson.clients {
        let lines = log(client).await.len();
        grows(client, lines + 5).await;
    }
}

#[tokio::test]
async fn ping_is_in_path_and_tells_an_answer_from_none() {
    let lesson = Lesson::start("ping", |request| request).await;
    let [east, west] = &lesson.clients;
    let to = address(west).await.to_string();
    let answered = exec(east, &["ping", "-c", "3", "-i", "0.2", &to]).await;
    assert_eq!(answered.code, Some(0), "{answered:?}");
    assert!(answered.stdout.contains("3 packets transmitted, 3 received, 0% packet loss"), "{answered:?}");

    // The address stays on the network, and nobody has it.
    west.stop_with_timeout(Some(10)).await.unwrap();
    let silent = exec(east, &["/bin/ping", "-c", "1", "-W", "1", &to]).await;
    assert_eq!(silent.code, Some(1), "{silent:?}");
}

/// What Pod Security `baseline` grants without any capability: ping sockets, by the pod's sysctl.
#[tokio::test]
async fn without_any_capability_requests_and_pings_still_work() {
    let lesson = Lesson::start("baseline", |request| {
        request.with_cap_drop("ALL").with_security_opt("no-new-privileges").with_host_config_modifier(|host| {
            let sysctl = ("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
            host.sysctls = Some([sysctl].into());
        })
    })
    .await;
    let server = address(&lesson.server).await.to_string();
    for client in &lesson.clients {
        grows(client, 1).await;
        let answered = exec(client, &["ping", "-c", "1", &server]).await;
        assert_eq!(answered.code, Some(0), "{answered:?}");
    }
    let container = connect().await.inspect_container(lesson.server.id(), None).await.unwrap();
    assert_eq!(container.host_config.unwrap().cap_drop.unwrap(), ["ALL"]);
}
