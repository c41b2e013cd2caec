// The button of the public page: fetches what is needed, has verify.js check it, and shows each check in words.

import {
  Disagreement, checkBytes, checkProof, checkSays, fromBase64, hasEd25519, openCheckpoint, parseKey, toHex,
} from "./verify.js";

const section = document.querySelector("#verify");
const button = section.querySelector("#check");
const rows = [...document.querySelectorAll("li[data-entry]")];
const STEPS = ["key", "note", "bytes", "says", "proof"];

async function got(path, accept) {
  const answer = await fetch(path, { headers: { Accept: accept }, cache: "no-store", redirect: "error" });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return accept === "application/json" ? answer.json() : answer.text();
}

const word = (state) => ({ yes: `✓ ${section.dataset.yes}`, no: `✗ ${section.dataset.no}`,
  unsure: `– ${section.dataset.unsure}` })[state];

function mark(step, state, tally = "") {
  const item = section.querySelector(`[data-check="${step}"]`);
  item.className = state;
  item.querySelector(".mark").textContent = word(state);
  item.querySelector(".tally").textContent = tally;
}

function verdict(name) {
  for (const one of section.querySelectorAll("[data-verdict]")) one.hidden = one.dataset.verdict !== name;
}

const reason = (name) => (section.querySelector(`[data-reason="${name}"]`).hidden = false);

/** The log's keys: the reader's own if one was typed in, else those that this server names. */
async function keys() {
  const own = section.querySelector("#own-key").value.trim();
  const lines = own ? [own] : (await got("/key", "text/plain")).trim().split("\n");
  return Promise.all(lines.map(parseKey));
}

/** All checks of one entry; its step that failed, null if none did, "unsigned" where it is not in the log yet. */
async function look(row, bytes, checkpoint) {
  const failed = {};
  const attempt = async (step, check) => {
    try {
      await check();
    } catch (error) {
      failed[step] = error;
    }
  };
  const shown = row.dataset;
  await attempt("bytes", () => {
    if (!bytes) throw new Disagreement("bytes", "the entry is not in the answer");
    return checkBytes(bytes, shown.hash);
  });
  await attempt("says", () => checkSays(bytes, shown));
  if (!checkpoint || !bytes) return { failed: { ...failed, proof: true }, proof: null };
  const [node, seq] = shown.entry.split("/");
  const proof = await got(`/proof/inclusion?node=${node}&seq=${seq}&size=${checkpoint.size}`, "application/json");
  if (proof) await attempt("proof", () => checkProof(bytes, proof, checkpoint));
  return { failed, proof, unsigned: !proof };
}

async function run() {
  verdict("busy");
  section.querySelector("#checks").hidden = false;
  for (const one of section.querySelectorAll("[data-reason]")) one.hidden = true;
  for (const step of STEPS) mark(step, "unsure");
  if (!globalThis.crypto?.subtle) {
    reason("crypto");
    return verdict("failed");
  }
  const able = await hasEd25519();
  if (!able) reason("ed25519");
  const states = {};
  let checkpoint = null;
  const story = await got(section.dataset.story, "application/json");
  const note = await got("/checkpoint", "text/plain");
  try {
    const known = await keys();
    states.key = "yes";
    checkpoint = await openCheckpoint(note, known);
    states.note = checkpoint.signed ? "yes" : "unsure";
  } catch (error) {
    if (!(error instanceof Disagreement)) throw error;
    states[error.step] = "no";
  }
  const bytes = new Map(story.steps.map((one) => [one.entry, fromBase64(one.bytes)]));
  const found = await Promise.all(rows.map((row) => look(row, bytes.get(row.dataset.entry), checkpoint)));
  const unsigned = found.filter((one) => one.unsigned).length;
  if (unsigned) reason("unsigned");
  for (const step of ["bytes", "says", "proof"]) {
    const bad = found.filter((one) => one.failed[step]).length;
    const open = step === "proof" ? unsigned : 0;
    states[step] = step === "proof" && !checkpoint ? "unsure" : bad ? "no" : open ? "unsure" : "yes";
    mark(step, states[step], `${found.length - bad - open}/${found.length}`);
  }
  for (const step of ["key", "note"]) mark(step, states[step] ?? "unsure");
  rows.forEach((row, i) => {
    const one = found[i];
    const state = Object.keys(one.failed).some((step) => step !== "proof" || checkpoint) ? "no"
      : one.unsigned || !checkpoint ? "unsure" : "yes";
    const shown = row.querySelector(".verified");
    shown.className = `verified ${state}`;
    shown.textContent = word(state);
  });
  numbers(checkpoint, found);
  const all = Object.values(states);
  verdict(all.includes("no") ? "no" : all.includes("unsure") || all.length < STEPS.length ? "part" : "yes");
}

/** The numbers themselves, for whoever wants to compute them again. */
function numbers(checkpoint, found) {
  const lines = checkpoint
    ? [`${checkpoint.key.name}+${checkpoint.key.id}`, `size ${checkpoint.size}`, `root ${toHex(checkpoint.root)}`] : [];
  rows.forEach((row, i) => lines.push(`${row.dataset.entry}  ${row.dataset.hash}  index ${found[i].proof?.index ?? "–"}`));
  section.querySelector("#numbers").hidden = false;
  section.querySelector("#numbers pre").textContent = lines.join("\n");
}

button.addEventListener("click", async () => {
  button.disabled = true;
  try {
    await run();
  } catch {
    verdict("failed");
  } finally {
    button.disabled = false;
    section.querySelector("#verdict").scrollIntoView({ block: "nearest" });
  }
});
