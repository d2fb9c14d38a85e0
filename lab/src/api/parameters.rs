//! The query string of a request, as the API's parameters.

use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;

use super::resources::Kind;
use super::selectors::{FieldSelector, LabelSelector};
use super::status::Status;
use super::watch::Filter;

/// The parameters in the order they came; `command` may stand many times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// 400 if the query string cannot be decoded.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Status> {
        let Query(pairs) = Query::try_from_uri(uri).map_err(|e| Status::bad_request(format!("query string: {e}")))?;
        Ok(Self(pairs))
    }

    /// The first value of a parameter; `None` if it is absent or empty.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    /// Whether a parameter is on: present and neither `false` nor `0`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.iter().any(|(k, v)| k == key && v != "false" && v != "0")
    }

    /// A number.
    ///
    /// # Errors
    /// 400 if it is none.
    pub(crate) fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>, Status> {
        let parse = |text: &str| text.parse().map_err(|_| Status::bad_request(format!("{key}={text} is not a number")));
        self.text(key).map(parse).transpose()
    }

    /// `dryRun`: only the value `All` exists.
    pub(crate) fn dry_run(&self) -> Result<bool, Status> {
        match self.text("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(Status::bad_request(format!("dryRun={other}: the only value is All"))),
        }
    }

    /// The selectors of a list or watch.
    pub(crate) fn filter(&self, kind: &'static Kind, namespace: Option<&str>) -> Result<Filter, Status> {
        Ok(Filter {
            namespace: namespace.map(str::to_owned),
            labels: LabelSelector::parse(self.text("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(kind, self.text("fieldSelector").unwrap_or_default())?,
        })
    }
}
