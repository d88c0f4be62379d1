//! Waiting until a host can use the volumes of its cluster of corosync.

use std::time::Duration;

use crate::{CorosyncConf, DlmCluster, Kernel, Membership, MembershipError, Wait};

/// How often the cluster is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often, while dlm_controld starts: it answers before it has told the kernel of this host.
const STARTING: u32 = 20;

/// This host cannot use the volumes of a cluster of corosync.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It is not a member of a cluster.
    #[error(
        "this host is not a member of a running cluster{}: start corosync and dlm_controld \
         (systemctl start dlm, or Pacemaker's ocf:pacemaker:controld)",
        why(.0)
    )]
    NotAMember(Option<MembershipError>),
    /// The wait was interrupted.
    #[error("interrupted while waiting for the cluster")]
    Interrupted,
}

fn why(err: &Option<MembershipError>) -> String {
    err.as_ref().map(|err| format!(" ({err})")).unwrap_or_default()
}

/// A person who waits.
pub trait Patience {
    /// Says once what is waited for.
    fn say(&self, what: &str);

    /// Waits for that long. Returns whether to go on waiting.
    fn pause(&self, time: Duration) -> bool;
}

/// Returns the cluster of this host when it is quorate and no failed node has to be fenced. Until
/// then the kernel would wait, in a way that cannot be interrupted. Where dlm_tool is not installed
/// that is not known, and nothing is waited for.
///
/// # Errors
/// [`NotReady`].
pub fn wait_until_ready(
    kernel: &dyn Kernel,
    patience: &dyn Patience,
) -> Result<DlmCluster, NotReady> {
    let mut said = None;
    let mut starting = 0;
    loop {
        let cluster = DlmCluster::find(kernel);
        let wait = match Membership::find(kernel) {
            Ok(membership) => membership.waits_for(),
            Err(MembershipError::NoProgram(_)) if cluster.is_some() => None,
            Err(err) => return Err(NotReady::NotAMember(Some(err))),
        };
        match (cluster, wait) {
            (Some(cluster), None) if cluster.this_node.is_some() => return Ok(cluster),
            (_, Some(wait)) => {
                let what = describe(&wait, kernel);
                if said.as_ref() != Some(&what) {
                    patience.say(&what);
                    said = Some(what);
                }
            }
            (_, None) if starting < STARTING => starting += 1,
            (_, None) => return Err(NotReady::NotAMember(None)),
        }
        if !patience.pause(PAUSE) {
            return Err(NotReady::Interrupted);
        }
    }
}

/// What is waited for, as a sentence.
pub fn describe(wait: &Wait, kernel: &dyn Kernel) -> String {
    match wait {
        Wait::Quorum => "waiting until the cluster is quorate".to_owned(),
        Wait::Fencing(nodes) => {
            let conf = CorosyncConf::read(kernel).unwrap_or_default();
            let nodes: Vec<_> = nodes.iter().map(|node| conf.describe(*node)).collect();
            format!("waiting until the cluster has fenced {}", nodes.join(" and "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::fake::{DLM_STATUS, FakeKernel};

    /// After some pauses the cluster is ready.
    struct Person<'a> {
        kernel: &'a FakeKernel,
        said: RefCell<Vec<String>>,
        pauses: Cell<u32>,
        most: u32,
    }

    impl Patience for Person<'_> {
        fn say(&self, what: &str) {
            self.said.borrow_mut().push(what.to_owned());
        }

        fn pause(&self, _: Duration) -> bool {
            self.pauses.set(self.pauses.get() + 1);
            if self.pauses.get() == 3 {
                self.kernel.answer("dlm_tool status -v", DLM_STATUS);
            }
            self.pauses.get() < self.most
        }
    }

    fn waits(kernel: &FakeKernel, most: u32) -> (Result<DlmCluster, NotReady>, Vec<String>, u32) {
        let person = Person { kernel, said: RefCell::default(), pauses: Cell::new(0), most };
        let outcome = wait_until_ready(kernel, &person);
        (outcome, person.said.take(), person.pauses.get())
    }

    #[test]
    fn what_is_waited_for_is_said_once() {
        let kernel = FakeKernel::new("a");
        kernel.join_dlm("hac", 2, &[1, 2]);
        for (from, to, what) in [
            ("quorate=1", "quorate=0", "waiting until the cluster is quorate"),
            (
                "need_fencing=0",
                "need_fencing=1",
                "waiting until the cluster has fenced node 1 (ovs001)",
            ),
        ] {
            let conf = "nodelist {\nnode {\nnodeid: 1\nname: ovs001\n}\n}\n";
            kernel.put(CorosyncConf::PATH, Some(conf));
            kernel.answer("dlm_tool status -v", &DLM_STATUS.replacen(from, to, 1));
            let (outcome, said, pauses) = waits(&kernel, 100);
            assert_eq!((outcome.unwrap().this_node, said, pauses), (Some(2), vec![what.into()], 3));
            kernel.answer("dlm_tool status -v", &DLM_STATUS.replacen(from, to, 1));
            assert!(matches!(waits(&kernel, 2).0, Err(NotReady::Interrupted)));
        }
    }

    #[test]
    fn a_host_without_a_cluster_is_told_what_to_start() {
        let kernel = FakeKernel::new("a");
        kernel.answer("dlm_tool status -v", "cannot connect to dlm_controld\n");
        let (outcome, said, pauses) = waits(&kernel, 100);
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("(dlm_controld does not run): start corosync"), "{text}");
        assert!(said.is_empty() && pauses == 0);
        // The daemon answers and has not told the kernel yet.
        kernel.answer("dlm_tool status -v", DLM_STATUS);
        let (outcome, _, pauses) = waits(&kernel, 100);
        assert!(matches!(outcome, Err(NotReady::NotAMember(None))));
        assert_eq!(pauses, STARTING);
        // Killed, it leaves what it has told the kernel.
        kernel.join_dlm("hac", 2, &[1, 2]);
        kernel.answer("dlm_tool status -v", "cannot connect to dlm_controld\n");
        assert!(matches!(waits(&kernel, 100).0, Err(NotReady::NotAMember(Some(_)))));
    }
}
