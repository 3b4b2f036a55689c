// Numbers for people. Units are those of the logs and of `shaker status`.

export const number = (value) => Number(value).toLocaleString("en");

export function bytes(value) {
  let left = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(left) < 1024) return `${unit === "B" ? Math.round(left) : left.toFixed(1)} ${unit}`;
    left /= 1024;
  }
  return `${left.toFixed(1)} TiB`;
}

export const seconds = (value) => (value < 60 ? `${value.toFixed(1)} s` : duration(value));

export const rate = (value) => (value < 10 && value > 0 ? value.toFixed(1) : number(Math.round(value)));

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");

export function duration(value) {
  const whole = Math.round(value);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
}

// Next steps for reasons that come without one, by their beginning.
const STEPS = [
  [/^lag of /, "Wait while it shrinks. If it grows, the target or the link to it is too slow for the source's writes."],
  [/^waiting for the source's snapshot/, "Wait: the source forks or saves; its log shows the progress."],
  [/^the keys of the target are being listed|^stale keys are being removed/, "Wait: no action is needed."],
  [/^the target rejected /, "Compare that key on both sides, and write it to the target or copy it again."],
  [/^a key may differ /, "Copy that key by hand, or force a full resync."],
  [/^keys wait for their true expiry/, "Wait: the worker keeps trying."],
  [/^a full sync is due/, "Wait: the worker asks again by itself."],
  [/bytes of the stream are unconfirmed/, "Wait: the worker compares their keys by itself."],
  [/^about .* wait in the source/, "Raise client-output-buffer-limit replica and repl-backlog-size there, or set spool.dir."],
  [/^the target has evicted /, "Raise its maxmemory or set maxmemory-policy noeviction, then force a full resync."],
  [/ is stalled$/, "Check the worker's log; its supervisor restarts it."],
];

// Split a reason into [problem, next step]: errors carry their hint after a semicolon.
export function withStep(reason) {
  const known = STEPS.find(([beginning]) => beginning.test(reason));
  if (known) return [reason, known[1]];
  const end = reason.lastIndexOf("; ");
  if (end < 0) return [reason, ""];
  const step = reason.slice(end + 2);
  return [reason.slice(0, end), step[0].toUpperCase() + step.slice(1)];
}
