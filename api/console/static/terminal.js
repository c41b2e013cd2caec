// The terminal of a stall or pharmacy. Scans are sent under ids of their own; what cannot be sent is kept on this device,
// in IndexedDB, and sent again under the same id until the ledger has it. A keyboard scanner is read by the keys' places
// (KeyboardEvent.code), so that neither an input method nor another layout changes what it says.

import { ask, make, nowText } from "/static/app.js";

const till = document.querySelector("#till");
const words = JSON.parse(till.dataset.texts);
const by = (id) => document.querySelector(`#${id}`);
const [node, step, command, party, scan, goods, quantity, unit, made, madeUnit, price, counterparty, result, voucher, paper] =
  ["node", "step", "command", "party", "scan", "goods", "quantity", "unit", "made", "made-unit", "price", "counterparty",
    "result", "voucher", "paper"].map(by);
const LEASE_LEAST = 5;

// --- what is kept on this device ------------------------------------------------------------------------------------

const opening = new Promise((resolve, reject) => {
  const request = indexedDB.open("suyuan-terminal", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("outbox", { keyPath: "scan" });
    request.result.createObjectStore("codes", { keyPath: "series" });
  };
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** One request of the browser's database, as a promise. */
async function stored(store, mode, action) {
  const base = await opening;
  return new Promise((resolve, reject) => {
    const transaction = base.transaction(store, mode);
    const request = action(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error);
  });
}
const waiting = () => stored("outbox", "readonly", (store) => store.getAll());
const keep = (entry) => stored("outbox", "readwrite", (store) => store.put(entry));
const drop = (id) => stored("outbox", "readwrite", (store) => store.delete(id));

// --- sending --------------------------------------------------------------------------------------------------------

const refusal = (error) => error.status !== undefined && error.status < 500 && error.status !== 401 && error.status !== 429;
const onItsWay = new Set();  // what `deliver` is sending: `flush` leaves it alone

/** Send one entry. Gives the answer, or throws: with a status if the ledger refused it, without if it was not reached. */
async function send(entry) {
  const post = (more) => ask(entry.path, { method: "POST", body: { ...entry.body, ...more } });
  if (!entry.late) return post({});
  if (entry.path === "/scans") return post({ offline: true });
  try {
    return await post({ mode: "offline" });
  } catch (error) {
    // Under this id the ledger has it as it was sent first, and the answer was lost on its way: that answer counts.
    if (error.status === 409 && error.problem?.type) return post({});
    throw error;
  }
}

let sending = false;
let signedOut = false;
async function flush() {
  if (sending) return;
  sending = true;
  try {
    const all = (await waiting()).filter((one) => !one.refused && !onItsWay.has(one.scan));
    for (const entry of all.sort((a, b) => a.kept - b.kept)) {
      try {
        await send(entry);
        await drop(entry.scan);
        signedOut = false;
        note("✓", entry.shown, words.recorded);
      } catch (error) {
        signedOut = error.status === 401;
        if (!refusal(error)) break;
        const why = reasonsOf(error.problem) || error.message;
        await keep({ ...entry, refused: why });
        answer("refused", words.no, `${entry.shown}: ${why}`);
        note("✗", entry.shown, `${words.set_aside}: ${why}`);
      }
    }
  } finally {
    sending = false;
    await tell();
  }
}

async function tell() {
  const all = await waiting();
  const count = all.filter((one) => !one.refused && !onItsWay.has(one.scan)).length;
  const aside = all.filter((one) => one.refused);
  by("state").className = navigator.onLine ? "hint" : "hint away";
  by("state").textContent = `${navigator.onLine ? `● ${words.online}` : `○ ${words.offline}`}${count ? ` · ${count} ${words.queued}` : ""}`;
  by("again").hidden = !signedOut;
  by("aside").hidden = !aside.length;
  by("aside-list").replaceChildren(...aside.map((one) => make("li", {},
    make("strong", {}, one.shown), ` ${new Date(one.kept).toLocaleString("zh-CN")}: ${one.refused} `,
    make("button", { type: "button", onclick: () => drop(one.scan).then(tell) }, words.seen))));
}

/** A slip's code from those that were leased ahead, or nothing while the ledger can give one itself. */
async function leased(series) {
  const found = await stored("codes", "readonly", (store) => store.get(series));
  if (!found?.codes.length) return null;
  const [first, ...codes] = found.codes;
  await stored("codes", "readwrite", (store) => store.put({ ...found, codes }));
  return first;
}

async function lease() {
  if (isDrugs() || !step.value.endsWith("_sale") || !party.value) return;
  const series = `${node.value} ${party.value}`;
  const found = await stored("codes", "readonly", (store) => store.get(series));
  if ((found?.codes.length ?? 0) >= LEASE_LEAST) return;
  try {
    const answer = await ask("/leases", { method: "POST", body: { node: node.value, party: party.value, count: 50 } });
    const codes = [...(found?.codes ?? []), ...answer.codes];
    await stored("codes", "readwrite", (store) => store.put({ series, codes, symbols: found?.symbols ?? {} }));
    const symbols = await symbolsOf(codes);
    const now = await stored("codes", "readonly", (store) => store.get(series));
    await stored("codes", "readwrite", (store) => store.put({ ...now, symbols }));
  } catch { /* no network, or not allowed: the ledger numbers the slips while it is there */ }
}

/** What is printed on the slips of these codes: for each its link, and the pictures of link and digits. */
async function symbolsOf(codes) {
  return (await ask(`/terminal/slips?${new URLSearchParams(codes.map((code) => ["code", code]))}`)).slips;
}

// --- what a person sees and hears -----------------------------------------------------------------------------------

let audio;
function sound(good) {
  try {
    audio ??= new AudioContext();
    const tone = audio.createOscillator();
    const gain = audio.createGain();
    tone.frequency.value = good ? 880 : 220;
    gain.gain.setValueAtTime(0.15, audio.currentTime);
    gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + (good ? 0.15 : 0.6));
    tone.connect(gain).connect(audio.destination);
    tone.start();
    tone.stop(audio.currentTime + (good ? 0.15 : 0.6));
  } catch { /* no sound here: colour and words say it */ }
}

function answer(kind, title, ...lines) {
  const place = by("answer");
  place.className = `big ${kind}`;
  place.replaceChildren(make("p", { class: "answer" }, title), ...lines.filter(Boolean).map((line) => make("p", {}, line)));
  if (kind !== "conditional") sound(kind === "admitted");
}

function note(mark, what, said) {
  const line = make("li", {}, `${mark} ${new Date().toLocaleTimeString("zh-CN")} ${what} ${said}`);
  by("history").prepend(line);
  while (by("history").children.length > 50) by("history").lastChild.remove();
}

/** The slip of a sale: what was sold where, and its code for the buyer's telephone and the next node's scanner. */
async function slipOf(trace, body) {
  const place = by("slip"), text = (name, ...said) => make("p", name ? { class: name } : {}, ...said);
  const what = `${nameOf(body.goods)} ${body.quantity ?? ""} ${body.quantity ? unit.selectedOptions[0]?.textContent ?? "" : ""}`;
  place.replaceChildren(
    make("h2", {}, words.slip), text("", node.selectedOptions[0]?.dataset.name ?? ""), text("", body.party ?? ""), text("", what),
    body.price ? text("", `¥ ${body.price}`) : "", text("", body.at.slice(0, 19).replace("T", " ")), text("code", trace));
  place.hidden = by("print").hidden = false;
  const kept = await stored("codes", "readonly", (store) => store.get(`${body.node} ${body.party}`));
  const found = kept?.symbols?.[trace] ?? (await symbolsOf([trace]).catch(() => ({})))[trace];
  if (found) {
    place.append(make("img", { class: "qr", src: found.qr, alt: found.link }), make("img", { class: "bars", src: found.digits, alt: trace }));
  }
}

// --- scanning -------------------------------------------------------------------------------------------------------

/** What a code of goods is called. */
const nameOf = (code) => [...document.querySelectorAll("#goods-list option")].find((one) => one.value === code)?.textContent ?? code ?? "";

const isDrugs = () => node.selectedOptions[0]?.dataset.drugs === "1";

async function drug(text) {
  const path = `/packs/${encodeURIComponent(text)}`;
  if (command.value === "verify") {
    const found = await ask(`${path}?node=${node.value}`);
    const pack = found.packs?.[0] ?? found;
    const may = pack.maySell ?? found.maySell;
    answer(may ? "admitted" : "refused", may ? words.may_sell : words.may_not, reasonsOf(pack));
    note(may ? "✓" : "✗", text, may ? words.may_sell : words.may_not);
    return;
  }
  await deliver({ path: `${path}/supply`, body: { node: node.value, at: nowText() }, shown: text, good: words.sold });
}

function reasonsOf(pack) {
  return (pack?.reasons ?? []).map((one) => `${one.chinese ?? ""} ${one.english ?? one}`).join("; ");
}

async function food(text) {
  const body = { node: node.value, step: step.value, at: nowText() };
  const given = { party, goods, quantity, made, price, counterparty, result };
  for (const [name, field] of Object.entries(given)) {
    if (field.value.trim() && !field.closest("[hidden]")) body[name] = field.value.trim();
  }
  if (body.quantity) body.unit = unit.value;
  if (body.made) body.madeUnit = madeUnit.value;
  if (text) body.scanned = text;
  if (text) delete body.goods;
  if (voucher.value.trim() && !voucher.closest("[hidden]")) body.vouchers = [{ kind: paper.value, number: voucher.value.trim() }];
  if (step.value.endsWith("_sale")) {
    const trace = await leased(`${node.value} ${party.value}`);
    if (trace) body.trace = trace;
  }
  await deliver({ path: "/scans", body, shown: `${step.selectedOptions[0].textContent} ${text || nameOf(goods.value)} ${quantity.value} ${body.unit ?? ""}`.trim(), good: words.recorded });
  for (const field of [quantity, made, voucher]) field.value = "";
}

/** Send under a new id; what cannot be sent is kept. */
async function deliver({ path, body, shown, good }) {
  const id = crypto.randomUUID();
  const entry = { scan: id, path, body: { ...body, scan: id }, shown, kept: Date.now(), late: false };
  onItsWay.add(id);
  await keep({ ...entry, late: true });  // first on this device, then on its way
  try {
    let found;
    try {
      found = await send(entry);
    } catch (error) {
      if (!error.problem?.again || !confirm(`${words.confirm} ${error.message}`)) throw error;
      entry.body.confirm = true;
      found = await send(entry);
    }
    await drop(id);
    const trace = found.trace ?? body.trace;
    if (found.again) {
      answer("conditional", words.again, shown, words.again_what);
      note("=", shown, words.again);
      return;
    }
    answer("admitted", words.yes, good, (found.warnings ?? []).map((one) => `${one.chinese} ${one.english}`).join("; "), reasonsOf(found.packs?.[0]));
    note("✓", shown, good);
    if (trace) slipOf(trace, body);
  } catch (error) {
    if (refusal(error)) {
      await drop(id);
      const why = reasonsOf(error.problem?.packs?.[0] ?? error.problem) || error.message;
      answer("refused", words.no, error.problem?.alert ? words.alert : "", why);
      note("✗", shown, why);
    } else {
      signedOut = error.status === 401;
      answer("conditional", words.queued, shown);
      if (body.trace) slipOf(body.trace, body);
    }
  } finally {
    onItsWay.delete(id);
    await tell();
  }
}

async function take(text) {
  show("");
  try {
    await (isDrugs() ? drug(text) : food(text));
  } catch (error) {
    answer("refused", words.no, error.message);
  }
  scan.focus();
}

// --- a scanner that is a keyboard -------------------------------------------------------------------------------------

const SHIFTED = { 1: "!", 2: "@", 3: "#", 4: "$", 5: "%", 6: "^", 7: "&", 8: "*", 9: "(", 0: ")" };
const SIGNS = { Minus: "-_", Equal: "=+", BracketLeft: "[{", BracketRight: "]}", Backslash: "\\|", Semicolon: ";:",
  Quote: "'\"", Comma: ",<", Period: ".>", Slash: "/?", Backquote: "`~", Space: "  ",
  NumpadDecimal: "..", NumpadSubtract: "--", NumpadAdd: "++", NumpadDivide: "//", NumpadMultiply: "**" };

/** What a key of a US keyboard says, by its place; nothing for keys that say nothing. */
export function characterOf({ code, shiftKey, ctrlKey }) {
  if (ctrlKey) return code === "BracketRight" ? "\x1d" : "";
  const letter = /^Key([A-Z])$/.exec(code)?.[1];
  if (letter) return shiftKey ? letter : letter.toLowerCase();
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(code)?.[1];
  if (digit) return shiftKey && code.startsWith("Digit") ? SHIFTED[digit] : digit;
  return SIGNS[code]?.[shiftKey ? 1 : 0] ?? "";
}

function odd(event) {
  let text = "";
  if (event.getModifierState("CapsLock")) text = words.caps;
  else if (event.isComposing || event.key === "Process" || event.keyCode === 229) text = words.ime;
  else if (event.key.length === 1 && /^(Key|Digit)/.test(event.code) && event.key.toLowerCase() !== characterOf(event).toLowerCase()) text = words.layout;
  if (text) by("warn").textContent = text;
  by("warn").hidden = !text;
}

let typed = false;  // a person types on the screen or keyboard: then the field is an ordinary one
let held = "";  // what the scanner's keys said so far; the field only shows it
/** A GS between two parts of a code is a control character: shown as a sign, sent as it is. */
function show(text) {
  held = text;
  scan.value = text.replaceAll("\x1d", "␝");
}

function key(event) {
  odd(event);
  const text = (typed ? scan.value.replaceAll("␝", "\x1d") : held).trim();
  if (event.code === "Enter" || event.code === "NumpadEnter" || (event.code === "Tab" && text && !typed)) {
    event.preventDefault();
    if (text) take(text);
    return;
  }
  if (typed || event.metaKey || event.altKey || (event.ctrlKey && event.code !== "BracketRight")) return;
  if (event.code === "Backspace" || event.code === "Escape") show(event.code === "Escape" ? "" : held.slice(0, -1));
  const character = characterOf(event);
  if (!character) return;
  event.preventDefault();
  show(held + character);
}
scan.addEventListener("keydown", key);
// Read-only, so that no input method takes the keys; what one puts there all the same does not count.
for (const type of ["input", "compositionend"]) scan.addEventListener(type, () => { if (!typed) show(held); });
/** A scanner does not know where the cursor is: what it says anywhere but in a field or on a button is a scan. */
document.addEventListener("keydown", (event) => {
  if (typed || event.target.closest("input, select, textarea, button, a, summary, [role=region]") || event.code === "Tab") return;
  if (!characterOf(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  scan.focus();
  key(event);
});
by("keyboard").addEventListener("click", () => {
  typed = !typed;
  scan.readOnly = !typed;
  show("");
  by("keyboard").setAttribute("aria-pressed", String(typed));
  scan.focus();
});
by("send").addEventListener("click", () => take((typed ? scan.value : held).trim()));
by("print").addEventListener("click", () => print());

// --- a camera: the browser reads its codes, or, where it cannot, the server reads a frame at a time --------------------

const FRAME_WIDTH = 1280, FRAME_PAUSE_MS = 150;

/** Asks a picture of the camera for its first code: as text, or undefined. */
function eye(video) {
  if ("BarcodeDetector" in globalThis) {
    const detector = new BarcodeDetector({ formats: ["data_matrix", "qr_code", "code_128", "ean_13"] });
    return async () => (await detector.detect(video).catch(() => []))[0]?.rawValue;
  }
  const canvas = document.createElement("canvas");
  return async () => {
    const scale = Math.min(1, FRAME_WIDTH / video.videoWidth);
    canvas.width = video.videoWidth * scale;
    canvas.height = video.videoHeight * scale;
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
    const { symbols } = await ask("/symbols/look", { method: "POST", blob: frame });
    if (!symbols.length) await new Promise((done) => setTimeout(done, FRAME_PAUSE_MS));
    return symbols[0]?.scanned;
  };
}

let closeCamera = null;

by("camera").addEventListener("click", async () => {
  if (closeCamera) return closeCamera();
  const video = by("video");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: FRAME_WIDTH } } });
  } catch (error) {
    return answer("conditional", words.camera_none, error.message);
  }
  let open = true;
  closeCamera = () => {
    open = false;
    closeCamera = null;
    stream.getTracks().forEach((track) => track.stop());
    video.hidden = true;
  };
  video.srcObject = stream;
  video.hidden = false;
  await video.play();
  const see = eye(video);
  while (open) {
    try {
      const found = await see();
      if (!open) return;
      if (found) {
        closeCamera();
        take(found);
        return;
      }
      await new Promise(requestAnimationFrame);
    } catch (error) {
      closeCamera?.();
      answer("conditional", words.camera_none, error.message);
    }
  }
});

// --- the page -------------------------------------------------------------------------------------------------------

function arrange() {
  const drugs = isDrugs();
  const kind = node.selectedOptions[0]?.dataset.kind ?? "";
  for (const one of document.querySelectorAll(".food")) one.hidden = drugs;
  for (const one of document.querySelectorAll(".drugs")) one.hidden = !drugs;
  let first = null;
  for (const one of step.options) {
    one.hidden = one.dataset.at !== "" && !one.dataset.at.split(" ").includes(kind);
    if (!one.hidden && one.dataset.at !== "") first ??= one;
  }
  const wanted = [...step.options].find((one) => !one.hidden && one.value.endsWith("_sale")) ?? first;
  if (wanted && step.selectedOptions[0]?.hidden !== false) step.value = wanted.value;
  localStorage.setItem("node", node.value);
  asked();
  lease();
}

/** Only what the chosen step asks for. */
function asked() {
  const chosen = step.selectedOptions[0];
  const needs = (chosen?.dataset.needs ?? "").split(" ");
  for (const one of document.querySelectorAll("[data-field]")) one.hidden = !needs.includes(one.dataset.field);
}

node.value = [...node.options].some((one) => one.value === localStorage.getItem("node")) ? localStorage.getItem("node") : node.value;
party.value = localStorage.getItem("party") ?? "";
party.addEventListener("change", () => { localStorage.setItem("party", party.value); lease(); });
node.addEventListener("change", arrange);
step.addEventListener("change", () => { asked(); lease(); });
addEventListener("online", flush);
addEventListener("offline", tell);
setInterval(flush, 5000);
arrange();
flush();
scan.focus();
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/terminal/worker.js", { scope: "/terminal" }).catch(() => {});
