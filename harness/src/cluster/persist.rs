//! Requests that outlive an API server's restart.

use std::time::Duration;

use kube::core::Status;
use tokio::time::Instant;

use crate::waits;

/// Makes a request again and again while the API server cannot be reached, restarts or is too busy, at most
/// [`waits::API_RETURNS`]. The request must be one that may be carried out twice.
///
/// # Errors
/// The server's refusal, or the last attempt's failure.
pub async fn persist<T, F>(mut request: impl FnMut() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let answer = tokio::time::timeout(waits::API_RETURNS.limit, request());
        match answer.await.unwrap_or_else(|_| Err(silent())) {
            Err(error) if may_pass(&error) && start.elapsed() < waits::API_RETURNS.limit => {
                tracing::debug!(%error, "asking the API server again");
            }
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// The error of a server that takes a request and says nothing.
fn silent() -> kube::Error {
    let why = format!("the API server gave no answer within {}", waits::API_RETURNS);
    kube::Error::Service(std::io::Error::new(std::io::ErrorKind::TimedOut, why).into())
}

/// Whether the same request may succeed a moment later.
pub(super) fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504) || is_early(status),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether a pod came before its namespace's service account, which a busy controller makes late: the server itself waits for it
/// about a second.
fn is_early(status: &Status) -> bool {
    status.code == 403 && status.message.contains("service account") && status.message.ends_with("not found")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, ..Status::default() }))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_asked_again_and_a_refusal_is_not() {
        let asked = Cell::new(0);
        let busy_twice = persist(|| async {
            asked.set(asked.get() + 1);
            if asked.get() < 3 { Err(answer(429)) } else { Ok(asked.get()) }
        });
        assert_eq!(busy_twice.await.unwrap(), 3);
        asked.set(0);
        let refused = persist(|| async {
            asked.set(asked.get() + 1);
            Err::<(), _>(answer(422))
        });
        assert!(refused.await.is_err());
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn a_pod_that_comes_before_its_service_account_is_created_again() {
        let early =
            "pods \"a\" is forbidden: error looking up service account x/default: serviceaccount \"default\" not found";
        let forbidden = |message: &str| {
            kube::Error::Api(Box::new(Status { message: message.into(), code: 403, ..Status::default() }))
        };
        assert!(may_pass(&forbidden(early)));
        assert!(!may_pass(&forbidden("pods is forbidden: User \"a\" cannot create resource \"pods\"")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_away_is_given_up() {
        let start = Instant::now();
        assert!(persist(|| async { Err::<(), _>(answer(503)) }).await.is_err());
        assert!(start.elapsed() >= waits::API_RETURNS.limit);
    }
}
