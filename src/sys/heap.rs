//! How much freed memory the C library's allocator keeps for the next request.
//!
//! glibc returns the free end of a heap to the kernel once it exceeds 128 KiB. A server that frees
//! request bodies and responses of that size would return memory after each batch of requests, and
//! the kernel would provide and zero it again, page by page, for the next batch. glibc raises its
//! threshold by itself when a large block is freed: to twice the block's size. [mallopt(3),
//! M_MMAP_THRESHOLD]

use std::hint::black_box;

/// The size of the block. Each heap then keeps up to twice as much: the bodies of 64 connections
/// that send 64 KiB each fit.
const BLOCK_BYTES: usize = 4 << 20;

/// Lets the allocator keep more freed memory. Only for a process that is the server's own. Unlike
/// `mallopt`, it leaves glibc's adaptation on, and a user who has set `MALLOC_TRIM_THRESHOLD_` or
/// `MALLOC_MMAP_THRESHOLD_` keeps that choice. Other allocators are not affected.
pub(crate) fn keep_freed_memory() {
    // No page of it is touched.
    drop(black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
}
