//! Addresses, names and pages, as text.

use std::fmt::Write;

/// The path that an address asks for, decoded: it begins with a slash and never leads upwards. None where it is not well
/// formed.
pub fn path_of(target: &str) -> Option<String> {
    let path = decoded(target.split(['?', '#']).next()?)?;
    let path = if path.is_empty() { "/".to_owned() } else { path };
    let is_plain = |part: &str| part != "." && part != ".." && !part.starts_with('.') && !part.contains(['\0', '\\']);
    (path.starts_with('/') && !path.contains("//") && path.split('/').all(is_plain)).then_some(path)
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                &after[2..]
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// A name as part of an address.
pub fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => text.push(char::from(byte)),
            false => write!(text, "%{byte:02X}").expect("writing to a text does not fail"),
        }
        text
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What a file is, by its ending.
pub fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The page of a folder: its pictures, then its folders and other files.
pub fn album(path: &str, entries: &[(String, bool)]) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("Album");
    let is_picture = |name: &str| content_type(name).starts_with("image/");
    let (mut pictures, mut others) = (String::new(), String::new());
    if path != "/" {
        others.push_str("<li><a href=\"../\">..</a></li>\n");
    }
    for (entry, is_folder) in entries {
        let (address, text) = (encoded(entry), escaped(entry));
        let slash = if *is_folder { "/" } else { "" };
        match !is_folder && is_picture(entry) {
            true => pictures.push_str(&format!(
                "<a href=\"./{address}\"><img src=\"./{address}\" alt=\"{text}\" loading=\"lazy\"></a>\n"
            )),
            false => others.push_str(&format!("<li><a href=\"./{address}{slash}\">{text}{slash}</a></li>\n")),
        }
    }
    let name = escaped(name);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n<h1>{name}</h1>\n<div class=\"pictures\">\n{pictures}</div>\n\
         <ul>\n{others}</ul>\n</html>\n"
    )
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color-scheme:light \
                     dark}.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:.5rem}\
                     img{width:100%;height:14rem;object-fit:cover;border-radius:.25rem}";
