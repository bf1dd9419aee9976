//! What the pods are doing, from their own metrics: figures for people.

use std::collections::HashMap;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::plan::facts::{Load, PodFact};
use crate::plan::render::deployment::HTTP_PORT;

/// Names of the pooler's metrics.
const WAITING: &str = "pgpooler_clients_waiting";
const HELD: &str = "pgpooler_server_connections_held";
/// How long a pod may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How old a figure may be.
const FRESH: Duration = Duration::from_secs(29);
/// More than any pod has to say.
const LONGEST_ANSWER: usize = 4 << 20;

type Figures = HashMap<String, (Instant, Load)>;

/// The last figures of each `PgPooler`.
#[derive(Default)]
pub struct Loads {
    figures: Mutex<Figures>,
}

impl Loads {
    /// What the pods of the `PgPooler` with this uid say.
    pub async fn observe(&self, uid: &str, pods: &[PodFact]) -> Load {
        let now = Instant::now();
        if let Some((at, load)) = self.figures.lock().await.get(uid)
            && now - *at < FRESH
        {
            return *load;
        }
        let asked = pods.iter().map(|pod| async {
            let address = pod.address.as_deref()?;
            timeout(PATIENCE, ask(address)).await.ok()?
        });
        let load = sum(&futures::future::join_all(asked).await);
        let mut figures = self.figures.lock().await;
        figures.retain(|_, (at, _)| now - *at < 10 * FRESH);
        figures.insert(uid.to_owned(), (now, load));
        load
    }
}

/// One pod's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    waiting: u32,
    held: u32,
}

/// Clients of pods that do not answer are left out; server connections are not, so one silent pod leaves them unknown.
fn sum(answers: &[Option<Answer>]) -> Load {
    let known: Vec<Answer> = answers.iter().flatten().copied().collect();
    Load {
        waiting: (!known.is_empty()).then(|| known.iter().map(|answer| answer.waiting).sum()),
        held: (known.len() == answers.len()).then(|| known.iter().map(|answer| answer.held).sum()),
    }
}

async fn ask(address: &str) -> Option<Answer> {
    let address = address.parse::<std::net::IpAddr>().ok()?;
    let port = u16::try_from(HTTP_PORT).ok()?;
    let stream = TcpStream::connect((address, port)).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    // ends with the sender
    tokio::spawn(connection);
    let request =
        hyper::Request::get("/metrics").header("host", "pgpooler").body(Empty::<Bytes>::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await.ok()?.to_bytes();
    answer(std::str::from_utf8(&body).ok()?)
}

/// A pod that has no pool yet says nothing of clients, but always of the connections that it holds.
fn answer(text: &str) -> Option<Answer> {
    Some(Answer { held: total(text, HELD)?, waiting: total(text, WAITING).unwrap_or(0) })
}

/// The sum over all labels; `None` if the pod does not know the metric.
fn total(text: &str, metric: &str) -> Option<u32> {
    let counts = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    let counts: Vec<f64> = counts.collect();
    (!counts.is_empty()).then(|| counts.iter().sum::<f64>().clamp(0.0, f64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pools_add_up() {
        let text = "# TYPE pgpooler_clients_waiting gauge\npgpooler_clients_waiting{database=\"a\",user=\"}\"} 3\n\
                    pgpooler_clients_waiting{database=\"b\"} 4\npgpooler_clients_waiting_seconds 9\n";
        assert_eq!(total(text, WAITING), Some(7));
        assert_eq!(total("pgpooler_clients_waiting 2\n", WAITING), Some(2));
        assert_eq!(total("other 2\n", WAITING), None);
    }

    #[test]
    fn a_pod_without_pools_holds_nothing_and_nobody_waits_there() {
        let text = "pgpooler_server_connections_held 0\n";
        assert_eq!(answer(text), Some(Answer { waiting: 0, held: 0 }));
        assert_eq!(answer("something else"), None);
    }

    #[test]
    fn a_silent_pod_leaves_the_connections_unknown_and_its_clients_out() {
        let one = Some(Answer { waiting: 2, held: 5 });
        assert_eq!(sum(&[one, one]), Load { waiting: Some(4), held: Some(10) });
        assert_eq!(sum(&[one, None]), Load { waiting: Some(2), held: None });
        assert_eq!(sum(&[]), Load { waiting: None, held: Some(0) });
    }
}
