//! What crosses the C boundary: buffers that the caller frees, status codes, and the guard that
//! keeps panics on this side. The C view of it is `hone_hf.h`.

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

pub const OK: i32 = 0;
/// The input is at fault; the message says how.
const INVALID: i32 = 1;
/// A panic: a bug here or in a crate.
const PANICKED: i32 = 2;

/// Owned bytes (text is UTF-8, not NUL-terminated), freed by `hone_hf_buffer_free`.
#[repr(C)]
pub struct Buffer {
    data: *mut u8,
    size: usize,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let bytes = Box::leak(bytes.into_boxed_slice());
        Self {
            data: bytes.as_mut_ptr(),
            size: bytes.len(),
        }
    }
}

impl From<String> for Buffer {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

/// Owned token ids, freed by `hone_hf_ids_free`.
#[repr(C)]
pub struct Ids {
    data: *mut u32,
    size: usize,
}

impl From<Vec<u32>> for Ids {
    fn from(ids: Vec<u32>) -> Self {
        let ids = Box::leak(ids.into_boxed_slice());
        Self {
            data: ids.as_mut_ptr(),
            size: ids.len(),
        }
    }
}

/// # Safety
/// `buffer` came from this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn hone_hf_buffer_free(buffer: Buffer) {
    if !buffer.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            buffer.data,
            buffer.size,
        )));
    }
}

/// # Safety
/// `ids` came from this library and are freed once.
#[no_mangle]
pub unsafe extern "C" fn hone_hf_ids_free(ids: Ids) {
    if !ids.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            ids.data, ids.size,
        )));
    }
}

/// The `size` elements at `data`; C++ passes null for an empty span.
///
/// # Safety
/// `data` points to `size` elements that outlive the use of the slice.
pub unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// As `slice`, and checked to be UTF-8.
///
/// # Safety
/// As `slice`.
pub unsafe fn text<'a>(data: *const u8, size: usize) -> Result<&'a str, String> {
    std::str::from_utf8(slice(data, size))
        .map_err(|error| format!("not valid UTF-8 at byte {}", error.valid_up_to()))
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The default hook prints to stderr, which a library must not; this one keeps the place for the
/// error message instead.
fn install_quiet_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(info.to_string()));
        }));
    });
}

/// What the panic that was just caught had to say.
pub fn last_panic() -> String {
    LAST_PANIC.take().unwrap_or_else(|| "panicked".to_owned())
}

/// Runs `body` and stores its value in `out` or its failure in `error`; returns the status.
///
/// # Safety
/// `out` and `error` are valid for writes.
pub unsafe fn guard<T>(
    out: *mut T,
    error: *mut Buffer,
    body: impl FnOnce() -> Result<T, String>,
) -> i32 {
    install_quiet_hook();
    let (status, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => {
            out.write(value);
            return OK;
        }
        Ok(Err(message)) => (INVALID, message),
        Err(_) => (PANICKED, last_panic()),
    };
    error.write(message.into());
    status
}
