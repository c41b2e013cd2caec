// Checking what the ledger shows, in the reader's own browser. No library, nothing hidden: read it.
//
//   entry     bytes of one record. Its hash is SHA-256 of exactly these bytes.
//   log       all entries of the city in one Merkle tree (RFC 6962). A leaf's data is an entry's 32-byte hash.
//   proof     the few hashes that lead from an entry's leaf to the tree's root.
//   checkpoint  size and root of the log, signed with Ed25519 (c2sp.org/tlog-checkpoint, c2sp.org/signed-note).
//
// Whoever changes a byte of an entry changes its hash, so the leaf, so the root: and for that root there is no signature.

/** Something does not agree; `step` is which of the checks. */
export class Disagreement extends Error {
  constructor(step, message) {
    super(message);
    this.step = step;
  }
}

// --- bytes ---

/** The bytes of base64, of which only one spelling is taken: else a changed character could go unnoticed. */
export function fromBase64(text) {
  let data;
  try {
    data = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  } catch {
    throw new TypeError("this is no base64");
  }
  if (toBase64(data) !== text) throw new TypeError("this is not the one base64 spelling of its bytes");
  return data;
}

export function toBase64(data) {
  let text = "";
  for (const one of data) text += String.fromCharCode(one);
  return btoa(text);
}

export const toHex = (data) => [...data].map((one) => one.toString(16).padStart(2, "0")).join("");

const utf8 = (text) => new TextEncoder().encode(text);

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const one of parts) {
    whole.set(one, at);
    at += one.length;
  }
  return whole;
}

const same = (a, b) => a.length === b.length && a.every((one, i) => one === b[i]);

// --- hashes (RFC 6962, 2.1) ---

export async function sha256(data) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

/** SHA-256(0x00 || data) */
export const leafHash = (data) => sha256(joined([0], data));

/** SHA-256(0x01 || left || right) */
export const nodeHash = (left, right) => sha256(joined([1], left, right));

/** The root that a proof leads to from a leaf (RFC 9162, 2.1.3.2, step by step). */
export async function rootFrom(index, size, leaf, path) {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) {
    throw new Disagreement("proof", `there is no leaf ${index} in a tree of ${size}`);
  }
  let [fn, sn, root] = [index, size - 1, leaf];
  const half = (n) => Math.floor(n / 2);
  for (const other of path) {
    if (other.length !== 32) throw new Disagreement("proof", "a hash has 32 bytes");
    if (sn === 0) throw new Disagreement("proof", "the proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      root = await nodeHash(other, root);
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      root = await nodeHash(root, other);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0) throw new Disagreement("proof", "the proof is too short");
  return root;
}

// --- keys and signed notes ---

/** A key line, name+id+base64(0x01 || 32 bytes). Its id is the beginning of SHA-256(name, newline, 0x01, key). */
export async function parseKey(line) {
  const found = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(line.trim());
  if (!found) throw new Disagreement("key", "this is no key line");
  const [, name, id, encoded] = found;
  let data;
  try {
    data = fromBase64(encoded);
  } catch (error) {
    throw new Disagreement("key", error.message);
  }
  if (data[0] !== 1 || data.length !== 33) throw new Disagreement("key", "this is no Ed25519 key");
  const expected = toHex((await sha256(joined(utf8(`${name}\n`), data))).slice(0, 4));
  if (expected !== id) throw new Disagreement("key", `the key's id is ${id}, it should be ${expected}`);
  return { name, id, raw: data.slice(1) };
}

/** Whether this browser can check Ed25519 signatures. */
export async function hasEd25519() {
  try {
    // the public key of RFC 8032, 7.1, test 1
    const known = Uint8Array.from("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".match(/../g),
      (one) => parseInt(one, 16));
    await crypto.subtle.importKey("raw", known, "Ed25519", false, ["verify"]);
    return true;
  } catch {
    return false;
  }
}

/**
 * The checkpoint in a signed note: its origin, size and root. Throws a Disagreement unless one of `keys` signed it.
 * `signed` is false only where the browser cannot check Ed25519 at all, and the signature was not looked at.
 */
export async function openCheckpoint(note, keys) {
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n")) throw new Disagreement("note", "this is no signed note");
  const text = note.slice(0, end + 1);
  const [origin, size, root, ...more] = text.split("\n");
  if (!/^(0|[1-9][0-9]{0,15})$/.test(size ?? "") || more.at(-1) !== "") {
    throw new Disagreement("note", "this is no checkpoint: origin, size and root, a line each");
  }
  let hash;
  try {
    hash = fromBase64(root);
  } catch (error) {
    throw new Disagreement("note", error.message);
  }
  if (hash.length !== 32) throw new Disagreement("note", "the root has 32 bytes");
  const able = await hasEd25519();
  let by = null;
  for (const line of note.slice(end + 2, -1).split("\n")) {
    const found = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
    if (!found) throw new Disagreement("note", "this is no signature line");
    let data;
    try {
      data = fromBase64(found[2]);
    } catch (error) {
      throw new Disagreement("note", error.message);
    }
    const key = keys.find((one) => one.name === found[1] && one.id === toHex(data.slice(0, 4)));
    if (!key) continue; // somebody else's signature: a witness's
    if (able) {
      const imported = await crypto.subtle.importKey("raw", key.raw, "Ed25519", false, ["verify"]);
      const good = await crypto.subtle.verify("Ed25519", imported, data.slice(4), utf8(text));
      if (!good) throw new Disagreement("note", `the signature of ${key.name} is not good`);
    }
    if (key.name === origin) by = key;
  }
  if (!by) throw new Disagreement("note", "no key that is known signed this checkpoint");
  return { origin, size: Number(size), root: hash, key: by, signed: able };
}

// --- entries ---

/** Whether the bytes hash to what the page says. */
export async function checkBytes(bytes, hashHex) {
  const found = toHex(await sha256(bytes));
  if (found !== hashHex) throw new Disagreement("bytes", `the bytes hash to ${found}, not to ${hashHex}`);
}

/** Whether the bytes say what the page says: which entry, what step, when, and with which result. */
export function checkSays(bytes, shown) {
  const entry = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  const event = entry.body?.event ?? {};
  const word = (text) => (text ?? "").split(/[/:-]/).at(-1);
  const result = { conformant: "True", non_conformant: "False" }[word(event.disposition)] ?? "";
  const agree =
    `${entry.node}/${entry.seq}` === shown.entry &&
    Date.parse(event.eventTime) === Math.floor(Date.parse(shown.at)) &&
    word(event.bizStep) === word(shown.step) &&
    (word(shown.step) !== "inspecting" || result === shown.passed);
  if (!agree) throw new Disagreement("says", "the entry says something else than the page");
}

/** Whether the entry's bytes are in the log of the checkpoint. */
export async function checkProof(bytes, proof, checkpoint) {
  let path;
  try {
    path = proof.path.map(fromBase64);
  } catch (error) {
    throw new Disagreement("proof", error.message);
  }
  if (proof.size !== checkpoint.size) throw new Disagreement("proof", "the proof is for another checkpoint");
  const leaf = await leafHash(await sha256(bytes));
  const root = await rootFrom(proof.index, checkpoint.size, leaf, path);
  if (!same(root, checkpoint.root)) throw new Disagreement("proof", "the proof leads to another root");
}
