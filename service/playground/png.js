// Reads the text chunks of a PNG file (tEXt, zTXt, iTXt) and finds our parameters in them.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MAX_TEXT = 1 << 20;
const latin1 = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const utf8 = (bytes) => new TextDecoder().decode(bytes);

/** Keyword → text. Throws when the file is no PNG. */
export async function pngTexts(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (SIGNATURE.some((byte, at) => bytes[at] !== byte)) throw new Error("not a PNG file");
  const view = new DataView(bytes.buffer);
  const texts = new Map();
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = latin1(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (type in READERS && length <= MAX_TEXT) {
      const end = data.indexOf(0);
      if (end > 0) texts.set(latin1(data.subarray(0, end)), await READERS[type](data.subarray(end + 1)));
    }
    if (type === "IEND") break;
    at += length + 12;
  }
  return texts;
}

const READERS = {
  tEXt: async (rest) => latin1(rest),
  zTXt: async (rest) => latin1(await inflated(rest.subarray(1))),
  iTXt: async (rest) => {
    const isCompressed = rest[0] === 1;
    const language = rest.indexOf(0, 2);
    const text = rest.subarray(rest.indexOf(0, language + 1) + 1);
    return utf8(isCompressed ? await inflated(text) : text);
  },
};

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The record in a file made by this service; null when it holds none. */
export async function settingsOfPng(file) {
  const text = (await pngTexts(file)).get("mindalle");
  return text ? JSON.parse(text) : null;
}
