// Draws /status and /history once a second. All text is set as text, never as markup: addresses and errors come from
// servers. Unchanged elements are not touched, so that nothing flickers and no screen reader repeats itself.

import { Curve } from "./curve.js";
import { follow } from "./control.js";
import { bytes, clock, duration, number, rate, seconds, withStep } from "./text.js";

const INTERVAL = 1000; // milliseconds
const DEADLINE = 5000; // milliseconds
const LATE = 5; // seconds of lag above which the page says so

// Meaning and mark of each state: working, waiting, or ended and in need of an operator.
const STATES = {
  starting: ["wait", "The worker has just started."],
  connecting: ["wait", "One side is not connected."],
  handshaking: ["wait", "Source and worker agree on the offset to resume from."],
  snapshot: ["wait", "The whole dataset is being copied."],
  catching_up: ["wait", "Writes made during the snapshot are being applied."],
  streaming: ["wait", "The target follows the source."],
  paused: ["wait", "The target is unreachable or accepts no writes; received data is kept."],
  draining: ["wait", "The worker is stopping: received data is being applied."],
  stopped: ["wait", "The worker has stopped."],
  fenced: ["bad", "A newer worker of this name has taken over; this one writes nothing."],
  failed: ["bad", "An error that a retry cannot fix has ended the replication."],
};

// States of a side that answers without being connected, by its last error.
const ANSWERS = {
  access: "access refused",
  behind: "behind the target",
  busy: "busy with a script",
  clusterdown: "its cluster is down",
  loading: "loading its dataset",
  masterdown: "without its primary",
  misconf: "cannot save to its disk",
  nomasterlink: "without its primary",
  noreplicas: "lacks replicas",
  oom: "out of memory",
  readonly: "a replica that accepts no writes",
  refused: "refuses a request",
  tryagain: "moving slots",
};

const element = (id) => document.getElementById(id);
const put = (id, text) => write(element(id), text);
const show = (id, shown) => toggle(element(id), shown);
const curve = (id, options) => new Curve(element(id), options);

function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function toggle(place, shown) {
  if (place.hidden === shown) place.hidden = !shown;
}

function mark(place, kind) {
  if (place.dataset.kind !== kind) place.dataset.kind = kind;
}

// Lay `rows`, each an array of texts, into `place` as `outer` elements with one `inner` element for each text.
function list(place, rows, outer, inner) {
  const key = JSON.stringify(rows);
  if (place.dataset.rows === key) return;
  place.dataset.rows = key;
  place.replaceChildren(...rows.map((texts) => {
    const row = document.createElement(outer);
    if (inner) row.append(...texts.map((text) => Object.assign(document.createElement(inner), { textContent: text })));
    else row.textContent = texts.join(" ");
    return row;
  }));
}

const curves = {
  lag_bytes: curve("lag-bytes", { title: "Lag in bytes", text: bytes, least: 1024, binary: true }),
  lag_seconds: curve("lag-seconds", { title: "Lag in seconds", text: seconds, least: 1 }),
  applied: curve("applied", { title: "Applied per second", text: rate, least: 10 }),
  received: curve("received", {
    title: "Received per second", text: (value) => `${bytes(value)}/s`, least: 1024, binary: true,
  }),
};

let samples = []; // of this page: those of the worker, and those from before its restart
let heard = null; // when the worker last answered, by the clock of this page, in milliseconds
let last = null; // the lag of the last answer: [Unix time, bytes, seconds]
let behind = 0; // Unix time of the worker minus that of this page, in seconds

function drawState(status) {
  const [usual, meaning] = STATES[status.state] ?? ["wait", ""];
  const kind = status.diverged ? "bad" : usual;
  const name = status.state.replaceAll("_", " ");
  const ready = status.diverged ? "diverged" : status.ready ? "ready" : "not ready";
  const title = `${name}, ${ready} · shaker ${status.name}`;
  if (document.title !== title) document.title = title;
  put("name", status.name);
  put("mode", `mode ${status.mode}`);
  put("state", name);
  put("ready", ready);
  // No number here: a screen reader would read it once a second.
  const late = status.state === "streaming" && status.stream.lag_seconds > LATE;
  const differs = "The target differs from the source: see the reason and the fix below.";
  put("meaning", status.diverged ? differs : late ? "The target follows the source, but is behind." : meaning);
  // The reason of the state only repeats the state.
  const reasons = status.reasons.filter((reason) => reason !== `state is ${status.state}`);
  const stalled = status.stalled.map((task) => `${task} is stalled`);
  mark(element("verdict"), stalled.length ? "bad" : status.ready ? "good" : kind);
  put("reasons-title", status.diverged ? "Why it differs, and what to do" : "Why it is not ready, and what to do");
  list(element("reasons"), [...stalled, ...reasons].map(withStep), "li", "span");
  mark(element("reasons-section"), status.diverged ? "bad" : "wait");
  show("reasons-section", stalled.length + reasons.length > 0);
}

function drawSide(name, side, reasons) {
  put(`${name}-address`, side.address || "not known yet");
  put(`${name}-server`, side.server || "not known yet");
  const answers = ANSWERS[side.last_error_kind];
  put(`${name}-connected`, side.connected ? "connected" : answers ? `reachable, ${answers}` : "not connected");
  mark(element(`${name}-connected`), side.connected ? "good" : "bad");
  // Among the reasons it is more prominent.
  const error = reasons.includes(side.last_error) ? null : side.last_error;
  put(`${name}-error`, error ? `Last error: ${error}` : "");
  show(`${name}-error`, Boolean(error));
}

function drawSnapshot(status) {
  const { snapshot } = status;
  const running = status.state === "snapshot";
  const begun = snapshot.keys_done > 0 || snapshot.bytes_done > 0;
  show("snapshot-section", running); // later it is one of the counts
  const total = snapshot.bytes_total || snapshot.keys_total;
  const done = snapshot.bytes_total ? snapshot.bytes_done : snapshot.keys_done;
  // While the state is `snapshot`, data is left to apply even if all of it has been read.
  const share = total ? Math.min(done / total, 0.999) : 0;
  const bar = element("snapshot-progress");
  if (!share) bar.removeAttribute("value");
  else bar.value = share;
  const percent = share ? `${Math.floor(share * 100)} %` : "";
  put("snapshot-share", begun ? percent : "waiting for the source");
  const of = (figure) => (figure ? ` of ${figure}` : "");
  put("snapshot-keys", `${number(snapshot.keys_done)}${of(snapshot.keys_total && number(snapshot.keys_total))} keys`);
  put("snapshot-bytes", `${bytes(snapshot.bytes_done)}${of(snapshot.bytes_total && bytes(snapshot.bytes_total))}`);
  const left = snapshot.eta_seconds === null ? "time left not known yet" : `${duration(snapshot.eta_seconds)} left`;
  put("snapshot-left", left);
}

function drawStream(status) {
  const { stream } = status;
  for (const name of ["source", "received", "applied", "checkpoint"]) {
    const offset = stream[`${name}_offset`];
    put(`offset-${name}`, number(offset));
    // During a snapshot the distance to the source's history has no meaning.
    put(`behind-${name}`, status.state === "snapshot" ? "–" : bytes(Math.max(0, stream.source_offset - offset)));
  }
  put("replid", stream.replid || "not known yet");
}

function apart(skew) {
  const size = Math.abs(skew).toFixed(1);
  return size === "0.0" ? "in step with the source's" : `${size} s ${skew < 0 ? "behind" : "ahead of"} the source's`;
}

function drawCounts(status) {
  const { sweep, reconnects } = status;
  const skew = status.clock_skew_seconds;
  const { keys_done: keys, bytes_done: size } = status.snapshot;
  list(element("counts"), [
    ["Copied by the snapshot", keys ? `${number(keys)} ${keys === 1 ? "key" : "keys"}, ${bytes(size)}` : "none"],
    ["Commands applied", number(status.stream.commands_applied)],
    ["Commands rejected", number(status.rejected_commands)],
    ["Full and partial syncs", `${number(status.full_syncs)} full, ${number(status.partial_syncs)} partial`],
    ["Reconnects", `${number(reconnects.source ?? 0)} source, ${number(reconnects.target ?? 0)} target`],
    ["Stale keys removed", number(sweep.keys_deleted) + (sweep.keys_stale ? `, ${number(sweep.keys_stale)} left` : "")],
    ["Keys evicted by the target", number(status.evicted_keys)],
    ["Records of other workers left out", number(status.reserved_keys_skipped)],
    ["In the spool", bytes(status.spool_bytes)],
    ["Unconfirmed", bytes(status.unconfirmed_bytes)],
    ["Target's clock", skew === null ? "not known yet" : apart(skew)],
  ], "div", "span");
  const errors = Object.entries(status.errors).sort((one, other) => other[1] - one[1]);
  list(element("errors"), errors.map(([name, count]) => [...name.split(":"), number(count)]), "tr", "td");
  show("errors-table", errors.length > 0);
  show("errors-none", errors.length === 0);
}

function drawProof({ verification }) {
  const { last_pass_seconds_ago: ago, passes, paused_because: waits } = verification;
  put("proof", passes ? `${duration(ago)} ago` : "not yet");
  const now = verification.running
    ? `A pass has compared ${number(verification.keys_compared)} of ${number(verification.keys_total)} keys.`
    : waits ? `No keys are compared now: ${waits}.` : "";
  const before = passes ? `${number(verification.last_pass_keys)} keys, up to offset ${number(verification.last_pass_offset)}. ` : "";
  put("proof-detail", before + now);
}

function drawCutover({ cutover }) {
  const { phase, possible, report } = cutover;
  put("cutover", phase !== "idle" ? phase.replaceAll("_", " ") : possible ? "possible" : "not possible");
  list(element("cutover-reasons"), phase === "idle" ? cutover.reasons.map((reason) => [reason]) : [], "li");
  const reason = report && report.reason ? `: ${report.reason}` : "";
  put("cutover-report", report ? `Last one: ${report.outcome.replaceAll("_", " ")}${reason}` : "");
}

function drawCurves(now) {
  const column = (value) => samples.map((sample) => [sample.at, value(sample)]);
  // The newest sample may be a second older than the page: the number beside the curve is current.
  curves.lag_bytes.draw([...column((sample) => sample.lag_bytes), [last[0], last[1]]], now);
  curves.lag_seconds.draw([...column((sample) => sample.lag_seconds), [last[0], last[2]]], now);
  curves.applied.draw(column((sample) => sample.commands_per_second + sample.keys_per_second), now);
  curves.received.draw(column((sample) => sample.received_bytes_per_second), now);
}

// Take the columns of /history; samples from before the worker's first one are kept.
function remember(history) {
  const names = Object.keys(history).filter((name) => Array.isArray(history[name]));
  const taken = history.at.map((_, place) => Object.fromEntries(names.map((name) => [name, history[name][place]])));
  const first = taken.length ? taken[0].at : history.now;
  samples = [...samples.filter((sample) => sample.at < first && history.now - sample.at < 600), ...taken];
}

function draw(status, history) {
  heard = Date.now();
  behind = history.now - heard / 1000;
  last = [history.now, status.stream.lag_bytes, status.stream.lag_seconds];
  remember(history);
  show("gone", false);
  drawState(status);
  drawSide("source", status.source, status.reasons);
  drawSide("target", status.target, status.reasons);
  drawSnapshot(status);
  drawStream(status);
  drawCounts(status);
  drawProof(status);
  drawCutover(status);
  drawCurves(history.now);
  put("version", `shaker ${status.shaker_version}, codec ${status.codec}`);
  show("control-section", !status.cutover.reasons.some((reason) => reason.startsWith("control.token_file is not set")));
  toggle(document.querySelector("main"), true);
  delete document.body.dataset.gone;
}

function drawGone() {
  document.body.dataset.gone = "";
  document.title = "no answer · shaker";
  put("state", "no answer");
  put("ready", "not known");
  mark(element("verdict"), "bad");
  put("meaning", "");
  put("gone", heard === null
    ? "The worker does not answer. This page keeps trying."
    : `The worker does not answer. This page shows its last answer, of ${clock(heard / 1000)}, and keeps trying.`);
  show("gone", true);
  if (heard !== null) drawCurves(Date.now() / 1000 + behind);
}

async function read(path, signal) {
  const response = await fetch(path, { cache: "no-store", signal });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

let asking = false;

async function ask() {
  // A hidden page asks again when it becomes visible.
  if (asking || document.hidden) return;
  asking = true;
  let answers = null;
  try {
    const signal = AbortSignal.timeout(DEADLINE);
    answers = await Promise.all([read("status", signal), read("history", signal)]);
  } catch {
    drawGone();
  } finally {
    asking = false;
  }
  if (answers) draw(...answers);
}

// On a phone the first screen shows the essentials; the rest is one touch away.
if (matchMedia("(max-width: 44rem)").matches) element("more").open = false;

document.addEventListener("visibilitychange", ask);
follow(ask);
setInterval(ask, INTERVAL);
ask();
