// Numbers and times as the reader's language writes them, the same as the server does.

const language = document.documentElement.lang || "en";
/** Whose clock the page goes by. */
export const timeZone = known(document.documentElement.dataset["zone"] ?? "UTC");

// The server may know zones that the browser does not.
function known(name: string): string {
  try {
    new Intl.DateTimeFormat(language, { timeZone: name });
    return name;
  } catch {
    return "UTC";
  }
}

const plain = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
const share = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 2 });
const signed = new Intl.NumberFormat(language, {
  style: "percent",
  maximumFractionDigits: 0,
  signDisplay: "exceptZero",
});
const clock = new Intl.DateTimeFormat(language, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
  timeZone,
});
const moment = new Intl.DateTimeFormat(language, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
  timeZone,
});
const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone });

export const NOTHING = "–";

type Maybe = number | null | undefined;
const given = (write: (value: number) => string) => (value: Maybe) =>
  value === null || value === undefined ? NOTHING : write(value);

export const count = given((value) => (value < 10_000 ? plain : short).format(value));
export const exact = given((value) => plain.format(value));
// What is not quite all is never rounded up to 100 %.
export const percent = given((value) =>
  share.format(value > 0.9999 && value < 1 ? 0.9999 : value),
);
// From here on a change is written as a factor.
const MANIFOLD = 10;
export const change = given((value) =>
  value < MANIFOLD ? signed.format(value) : `×${plain.format(Math.round(1 + value))}`,
);
export const milliseconds = given((value) => {
  if (value >= 1000) return `${plain.format(value / 1000)} s`;
  return `${plain.format(value < 10 ? value : Math.round(value))} ms`;
});
export const size = given((value) => {
  let rest = value;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (rest < 1000) return `${plain.format(rest)} ${unit}`;
    rest /= 1000;
  }
  return `${plain.format(rest)} TB`;
});

export function time(posixSeconds: number, daily: boolean): string {
  return (daily ? day : moment).format(posixSeconds * 1000);
}

// A label of an axis: the hour within a day, else the day.
export function tick(posixSeconds: number, daily: boolean, stepSeconds: number): string {
  if (daily) return day.format(posixSeconds * 1000);
  return (stepSeconds < 86_400 ? clock : day).format(posixSeconds * 1000);
}
