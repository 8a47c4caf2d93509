//! The choice of the client among the nodes of a chain.
//!
//! Each proxy appends the address that it has received the request from. So the last node is what
//! the peer says, the one before it is what the last node says, and so on: a node can be believed
//! as long as all nodes behind it are trusted.

use std::net::IpAddr;

use super::node::Node;

/// The position in `nodes` of the node that the walk ends at: the first from the right that is not
/// a trusted address, or the leftmost if all are. `None` if there are no nodes.
pub(super) fn chosen(
    nodes: impl DoubleEndedIterator<Item = Node> + ExactSizeIterator,
    trusts: impl Fn(IpAddr) -> bool,
) -> Option<usize> {
    let is_trusted = |node| matches!(node, Node::Address(client) if trusts(client.ip));
    let mut leftmost = None;
    for (index, node) in nodes.enumerate().rev() {
        leftmost = Some(index);
        if !is_trusted(node) {
            break;
        }
    }
    leftmost
}
