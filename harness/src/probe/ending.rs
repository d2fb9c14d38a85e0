//! How a `pods/exec` stream ends: by the API server's word, or by a connection that breaks.

use std::future::pending;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachedProcess;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

/// How the command of a stream ends.
pub(super) struct Ending {
    coming: Option<BoxFuture<'static, Option<Status>>>,
    said: Option<Status>,
}

impl Ending {
    /// Of a stream that was just opened.
    pub(super) fn of(process: &mut AttachedProcess) -> Self {
        Ending { coming: process.take_status().map(FutureExt::boxed), said: None }
    }

    /// Resolves when the connection has broken, that is, when the stream ended without the API server's word: the client library
    /// then leaves stdin and stdout as they are, so that neither reading nor writing would ever tell.
    pub(super) async fn lost(&mut self) {
        if let Some(coming) = &mut self.coming {
            self.said = coming.await;
            self.coming = None;
            if self.said.is_none() {
                return;
            }
        }
        pending().await
    }

    /// What the relay or the API server said when the stream ended.
    pub(super) async fn last_words(self, process: &mut AttachedProcess) -> String {
        let status = match self.coming {
            Some(coming) => timeout(Duration::from_millis(200), coming).await.ok().flatten(),
            None => self.said,
        };
        let mut words = String::new();
        if let Some(stderr) = process.stderr() {
            let mut lines = BufReader::new(stderr).lines();
            while let Some(Ok(Some(line))) = timeout(Duration::from_millis(50), lines.next_line()).map(Result::ok).await
            {
                words.push_str(&line);
                words.push(' ');
            }
        }
        match status.and_then(|status| status.message) {
            Some(message) => format!("{words}{message}"),
            None if words.is_empty() => "the stream ended without a word".into(),
            None => words.trim().to_owned(),
        }
    }
}
