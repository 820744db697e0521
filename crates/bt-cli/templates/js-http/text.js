// Text and its bytes in UTF-8: the engine has no TextEncoder.

/** The bytes of a text. */
export function bytesOf(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), byte => byte.charCodeAt(0));
}

/** The text of bytes; null where they are no UTF-8. */
export function textOf(bytes) {
  let codes = '';
  for (let at = 0; at < bytes.length; at += 4096) codes += String.fromCharCode(...bytes.subarray(at, at + 4096));
  try {
    return decodeURIComponent(escape(codes));
  } catch {
    return null;
  }
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Bytes in base64. */
export function base64Of(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 3) {
    const [one, two = 0, three = 0] = bytes.subarray(at, at + 3);
    const group = (one << 16) | (two << 8) | three;
    const digits = [18, 12, 6, 0].map(shift => DIGITS[(group >> shift) & 63]).join('');
    text += digits.slice(0, Math.min(bytes.length - at, 3) + 1).padEnd(4, '=');
  }
  return text;
}
