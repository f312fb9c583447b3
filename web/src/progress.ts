// A site's way to its first visitor: shown anew when a step was taken.

// A look takes a few seconds, and the registrar minutes: nobody waits for less.
const REFRESH_MS = 4000;
const LONGEST_RETRY_MS = 60_000;
const TIMEOUT_MS = 10_000;

interface Step {
  state: string;
  reason: { code: string } | null;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function get(url: string, type: string): Promise<Response> {
  const answer = await fetch(url, {
    headers: { Accept: type },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer;
}

const fingerprint = (steps: Step[]): string =>
  steps.map((step) => (step.reason ? `${step.state}:${step.reason.code}` : step.state)).join(",");

// Only the parts that changed are replaced: the owner's token may be on the page, this once.
async function replaceParts(): Promise<void> {
  const answer = await get(location.pathname, "text/html");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of ["#progress", ".title-line .badge"]) {
    const old = document.querySelector(part);
    const now = fresh.querySelector(part);
    if (!old) continue;
    if (now) old.replaceWith(document.importNode(now, true));
    else old.remove();
  }
}

export async function followProgress(): Promise<void> {
  let wait = REFRESH_MS;
  for (;;) {
    await pause(wait);
    const section = document.querySelector<HTMLElement>("#progress");
    const url = section?.dataset["url"];
    if (!section || !url) return;
    if (document.hidden) continue;
    try {
      const site = (await (await get(url, "application/json")).json()) as {
        progress: { steps: Step[] };
      };
      if (fingerprint(site.progress.steps) !== section.dataset["steps"]) await replaceParts();
      wait = REFRESH_MS;
    } catch {
      wait = Math.min(wait * 2, LONGEST_RETRY_MS);
    }
  }
}
