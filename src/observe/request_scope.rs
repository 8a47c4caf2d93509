//! The request that a thread works for, for lines of the error log: they carry its id.
//!
//! A thread enters the scope of a request that has an id. Other threads of the application have
//! none, so their lines carry none.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Arc;

/// The id of a request: visible ASCII characters, without quotation marks.
pub type RequestId = Arc<str>;

thread_local! {
    static CURRENT: RefCell<Option<RequestId>> = const { RefCell::new(None) };
    /// The last text of the application has not ended its line.
    static IS_MID_LINE: Cell<bool> = const { Cell::new(false) };
}

/// Lets the lines that this thread logs carry the id of a request, until it is dropped.
#[derive(Debug)]
pub struct RequestScope {
    /// The scope that this one is in.
    outer: Option<RequestId>,
    /// It belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

impl RequestScope {
    /// Enters the scope of the request with this id.
    pub fn enter(id: &RequestId) -> RequestScope {
        IS_MID_LINE.set(false);
        let outer = CURRENT.with_borrow_mut(|current| current.replace(id.clone()));
        RequestScope { outer, _not_send: PhantomData }
    }
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        IS_MID_LINE.set(false);
        // A thread that ends has no such variable any more.
        let _ = CURRENT.try_with(|current| current.replace(self.outer.take()));
    }
}

/// The id of the request that this thread works for.
pub fn current_request_id() -> Option<RequestId> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// How a line of the error log carries an id.
pub(super) fn label(id: &str) -> String {
    format!("[request {id}] ")
}

/// The text, which is escaped already, with the id of this thread's request at the start of each
/// line. The text may be a part of a line, which another text ends.
pub(super) fn labelled(text: String) -> String {
    let Some(id) = current_request_id().filter(|_| !text.is_empty()) else { return text };
    let label = label(&id);
    let mut labelled = String::with_capacity(text.len() + label.len());
    let mut is_mid_line = IS_MID_LINE.get();
    for line in text.split_inclusive('\n') {
        if !is_mid_line {
            labelled.push_str(&label);
        }
        labelled.push_str(line);
        is_mid_line = !line.ends_with('\n');
    }
    IS_MID_LINE.set(is_mid_line);
    labelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_text_carries_the_id_once() {
        let text = |text: &str| labelled(text.to_owned());
        assert_eq!(text("a\n"), "a\n");
        let id: RequestId = "x1".into();
        {
            let _scope = RequestScope::enter(&id);
            assert_eq!(text("a\nb\n"), "[request x1] a\n[request x1] b\n");
            // As `print` writes its arguments.
            assert_eq!([text("a"), text(" "), text(""), text("b\nc"), text("\n")].concat(), {
                "[request x1] a b\n[request x1] c\n"
            });
            assert_eq!(current_request_id(), Some(id.clone()));
            assert_eq!(text("unfinished"), "[request x1] unfinished");
            {
                let _inner = RequestScope::enter(&"x2".into());
                assert_eq!(text("a\n"), "[request x2] a\n");
            }
            assert_eq!(current_request_id(), Some(id));
        }
        assert_eq!(current_request_id(), None);
        assert_eq!(text("a"), "a");
    }
}
