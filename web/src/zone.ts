// Tells the server the browser's time zone, so that days and hours are the reader's.

// As long as the server's own cookies: a year.
const LIFE_SECONDS = 365 * 24 * 3600;

export function tellZone(): void {
  const { zone, zoneBy } = document.documentElement.dataset;
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!own || zoneBy === "chosen" || zoneBy === "account") return;
  const cookie = `browser_tz=${own}`;
  const told = document.cookie.split("; ").includes(cookie);
  if (told) return; // the server knows no zone of this name, or goes by it
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${cookie}; path=/; max-age=${LIFE_SECONDS}; samesite=lax${secure}`;
  // Where cookies are off, nothing would be different the second time.
  const kept = document.cookie.split("; ").includes(cookie);
  if (kept && own !== zone && document.querySelector("[data-zoned]")) location.reload();
}
