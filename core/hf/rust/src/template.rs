//! Chat templates in the environment that transformers gives them.
//! Source: transformers' `_cached_compile_jinja_template`.

use std::ffi::{CStr, CString};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::template_json::tojson;

const NAME: &str = "chat_template";

pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    pub fn compile(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(call_method);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| describe(&error))?;
        Ok(Self { environment })
    }

    /// `context` is a JSON object of the template's variables.
    pub fn render(&self, context: &str) -> Result<String, String> {
        let context: Value = serde_json::from_str(context).map_err(|error| error.to_string())?;
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| describe(&error))?;
        template.render(context).map_err(|error| describe(&error))
    }
}

fn describe(error: &Error) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message += &format!(": {cause}");
        source = cause.source();
    }
    message
}

/// Python's methods, corrected where pycompat's differ.
fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (method, value.as_str(), args) {
        ("title", Some(text), []) => Ok(title(text).into()),
        _ => unknown_method_callback(state, value, method, args),
    }
}

/// A word begins at every letter that follows none, not only after white space.
fn title(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            result.extend(c.to_lowercase());
        } else {
            result.extend(c.to_uppercase());
        }
        in_word = c.is_alphabetic();
    }
    result
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// Local time by the C library, as Python's `datetime.now().strftime` does it.
fn strftime_now(format: String) -> Result<String, Error> {
    let invalid = |message: &str| Error::new(ErrorKind::InvalidOperation, message.to_owned());
    // An empty result and a buffer that is too small look the same: a sentinel tells them apart.
    let format = CString::new(format + "|").map_err(|_| invalid("NUL in a strftime format"))?;
    let mut buffer = [0u8; 1024];
    // SAFETY: all pointers are valid for the calls, the buffer's size is passed on, and strftime
    // terminates what it writes.
    let text = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut parts).is_null() {
            return Err(invalid("the local time is not available"));
        }
        let data = buffer.as_mut_ptr().cast();
        if libc::strftime(data, buffer.len(), format.as_ptr(), &parts) == 0 {
            return Err(invalid("the strftime result is longer than 1023 bytes"));
        }
        CStr::from_ptr(data).to_string_lossy().into_owned()
    };
    Ok(text.strip_suffix('|').unwrap_or(&text).to_owned())
}

/// `{% generation %}` marks the assistant's tokens for transformers' masks and prints its body; here
/// it becomes `{% with %}`, which has the same scope.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        result += before;
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let is_sign = |c: char| c == '-' || c == '+';
        let name = tag[..end].trim_matches(is_sign).trim();
        let replacement = match name {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => continue,
        };
        result += &tag[..end].replace(name, replacement);
        rest = &tag[end..];
    }
    result + rest
}
