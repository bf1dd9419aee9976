//! How many clients wait, from the pods' own metrics. A figure for people: what does not answer is left out.

use std::collections::HashMap;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::plan::facts::PodFact;
use crate::plan::render::deployment::HTTP_PORT;

/// Name of the pooler's metric.
const WAITING: &str = "pgpooler_clients_waiting";
/// How long a pod may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How old a figure may be.
const FRESH: Duration = Duration::from_secs(29);
/// More than any pod has to say.
const LONGEST_ANSWER: usize = 4 << 20;

type Figures = HashMap<String, (Instant, Option<u32>)>;

/// The last figure of each `PgPooler`.
#[derive(Default)]
pub struct Waiting {
    figures: Mutex<Figures>,
}

impl Waiting {
    /// Clients that wait at the ready pods of the `PgPooler` with this uid.
    pub async fn observe(&self, uid: &str, pods: &[PodFact]) -> Option<u32> {
        let now = Instant::now();
        if let Some((at, figure)) = self.figures.lock().await.get(uid)
            && now - *at < FRESH
        {
            return *figure;
        }
        let ready = pods.iter().filter(|pod| pod.ready).filter_map(|pod| pod.address.as_deref());
        let answers = futures::future::join_all(ready.map(|address| timeout(PATIENCE, ask(address)))).await;
        let counts: Vec<u32> = answers.into_iter().filter_map(|answer| answer.ok().flatten()).collect();
        let figure = (!counts.is_empty()).then(|| counts.iter().sum());
        let mut figures = self.figures.lock().await;
        figures.retain(|_, (at, _)| now - *at < 10 * FRESH);
        figures.insert(uid.to_owned(), (now, figure));
        figure
    }
}

async fn ask(address: &str) -> Option<u32> {
    let address = address.parse::<std::net::IpAddr>().ok()?;
    let port = u16::try_from(HTTP_PORT).ok()?;
    let stream = TcpStream::connect((address, port)).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    // ends with the sender
    tokio::spawn(connection);
    let request =
        hyper::Request::get("/metrics").header("host", "pgpooler").body(Empty::<Bytes>::new()).ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await.ok()?.to_bytes();
    waiting(std::str::from_utf8(&body).ok()?)
}

/// The sum over all labels; `None` if the pod does not know the metric.
fn waiting(text: &str) -> Option<u32> {
    let counts = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(WAITING)?;
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
        assert_eq!(waiting(text), Some(7));
        assert_eq!(waiting("pgpooler_clients_waiting 2\n"), Some(2));
        assert_eq!(waiting("other 2\n"), None);
    }
}
