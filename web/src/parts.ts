// Parts of a page, replaced by what the server writes of them now.

const TIMEOUT_MS = 10_000;

export async function get(url: string, type: string): Promise<Response> {
  const answer = await fetch(url, {
    headers: { Accept: type },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer;
}

/** Only these parts: the owner's token may be on the page, this once. */
export async function replaceParts(url: string, selectors: string[]): Promise<void> {
  const answer = await get(url, "text/html");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const selector of selectors) {
    const old = document.querySelector(selector);
    const now = fresh.querySelector(selector);
    if (!old) continue;
    if (now) old.replaceWith(document.importNode(now, true));
    else old.remove();
  }
}
