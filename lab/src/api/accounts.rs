//! Who somebody is: the lab's administrator, or a service account by its token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::metadata::new_uid;
use super::status::Status;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Whoever has the cluster's own token, or a certificate.
    Administrator,
    /// A program in a pod.
    ServiceAccount {
        /// The account's namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Identity {
    /// The user name.
    pub(crate) fn user(&self) -> String {
        match self {
            Self::Administrator => "kubernetes-admin".into(),
            Self::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
        }
    }

    /// The user's groups.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups = match self {
            Self::Administrator => vec!["system:masters".into()],
            Self::ServiceAccount { namespace, .. } => {
                vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
            }
        };
        groups.push("system:authenticated".into());
        groups
    }
}

/// The tokens of service accounts: one each, valid as long as the lab. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Accounts(Arc<Mutex<Tokens>>);

#[derive(Debug, Default)]
struct Tokens {
    /// By namespace and name.
    of: BTreeMap<(String, String), String>,
    whose: BTreeMap<String, (String, String)>,
}

impl Accounts {
    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token of a service account, made when it is asked for first.
    ///
    /// # Errors
    /// 500 if the kernel gives no random numbers.
    pub fn token(&self, namespace: &str, name: &str) -> Result<String, Status> {
        let account = (namespace.to_owned(), name.to_owned());
        let mut tokens = self.lock();
        if let Some(token) = tokens.of.get(&account) {
            return Ok(token.clone());
        }
        let token = new_uid()?;
        tokens.whose.insert(token.clone(), account.clone());
        tokens.of.insert(account, token.clone());
        Ok(token)
    }

    /// Whose token this is.
    pub(crate) fn whose(&self, token: &str) -> Option<Identity> {
        let (namespace, name) = self.lock().whose.get(token).cloned()?;
        Some(Identity::ServiceAccount { namespace, name })
    }
}
