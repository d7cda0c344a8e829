// Shows a problem: what happened, the way out, and a button that waits as long as the server asks.

import { button, el } from "./dom.js";
import { inWords } from "./problems.js";

export function problemBox(problem, onRetry) {
  const { title, way, retryAfter } = inWords(problem);
  const box = el("div", { className: "notice problem", data: { code: problem.code } },
    el("p", {}, el("strong", {}, title), " ", way));
  if (onRetry) box.append(retryButton(retryAfter, onRetry));
  return box;
}

function retryButton(seconds, onRetry) {
  const retry = button("Try again", onRetry, "");
  if (!seconds) return retry;
  const ready = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((ready - Date.now()) / 1000);
    retry.disabled = left > 0;
    retry.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left > 0) setTimeout(tick, 250);
  };
  tick();
  return retry;
}
