"use strict";

// Draws /status once a second. All text is set as text, never as markup: addresses and errors come from servers.

const INTERVAL = 1000; // milliseconds
const DEADLINE = 5000; // milliseconds

const put = (id, text) => { document.getElementById(id).textContent = text; };
const number = (value) => Number(value).toLocaleString("en");

function bytes(value) {
  let left = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (left < 1024) return `${unit === "B" ? left : left.toFixed(1)} ${unit}`;
    left /= 1024;
  }
  return `${left.toFixed(1)} TiB`;
}

function side(one) {
  const parts = [one.address || "not known yet", one.server, one.connected ? "connected" : "not connected"];
  if (one.last_error) parts.push(`last error: ${one.last_error}`);
  return parts.filter(Boolean).join(" · ");
}

function draw(status) {
  const { snapshot, stream } = status;
  document.title = `${status.state} · shaker ${status.name}`;
  put("name", status.name);
  put("state", status.ready ? `${status.state}, ready` : `${status.state}, not ready`);
  document.getElementById("state").className = status.ready ? "state ready" : "state";
  put("source", side(status.source));
  put("target", side(status.target));

  document.getElementById("reasons").replaceChildren(...status.reasons.map((reason) => {
    const item = document.createElement("li");
    item.textContent = reason;
    return item;
  }));

  const total = snapshot.bytes_total || snapshot.keys_total;
  const done = snapshot.bytes_total ? snapshot.bytes_done : snapshot.keys_done;
  document.getElementById("snapshot-section").hidden = !(total || snapshot.keys_done || snapshot.bytes_done);
  if (total) document.getElementById("snapshot-progress").value = Math.min(1, done / total);
  const left = snapshot.eta_seconds === null ? "" : `, ${Math.ceil(snapshot.eta_seconds)} s left`;
  const ofKeys = snapshot.keys_total ? ` of ${number(snapshot.keys_total)}` : "";
  const ofBytes = snapshot.bytes_total ? ` of ${bytes(snapshot.bytes_total)}` : "";
  put("snapshot", `${number(snapshot.keys_done)}${ofKeys} keys, ${bytes(snapshot.bytes_done)}${ofBytes}${left}`);

  put("lag", `${bytes(stream.lag_bytes)}, ${stream.lag_seconds.toFixed(1)} s`);
  put("commands", `${number(stream.commands_applied)} applied, ${number(stream.commands_per_second)} per second`);
  for (const name of ["source_offset", "received_offset", "applied_offset", "checkpoint_offset"]) {
    put(name, number(stream[name]));
  }
  put("replid", stream.replid);
  put("syncs", `${status.full_syncs} full, ${status.partial_syncs} partial`);
}

async function poll() {
  try {
    const response = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(DEADLINE) });
    draw(await response.json());
  } catch {
    put("state", "the worker does not answer");
    document.getElementById("state").className = "state lost";
  }
  setTimeout(poll, INTERVAL);
}

poll();
