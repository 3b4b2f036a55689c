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
