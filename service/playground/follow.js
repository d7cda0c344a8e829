// Follows a job to its end: events as they come, and a look every second for what has no event
// (place in the queue, estimate, progress). Either alone is enough, so a broken stream costs little.

import { openEvents, readJob } from "./api.js";
import { readEvents } from "./events.js";

export const TERMINAL = new Set(["succeeded", "failed", "cancelled", "expired"]);
const LOOK_MS = 1000;
const LONGEST_PAUSE_MS = 10_000;
// A browser opens six connections to one server in all its tabs; streams hold theirs.
const MAX_STREAMS = 2;
let numStreams = 0;

const pauseMs = (failures) => Math.min(500 * 2 ** failures, LONGEST_PAUSE_MS);

/**
 * Resolves with the ended job. `onJob(job)` after each look, `onPartial(data)` for each unfinished
 * picture, `onTrouble(problem)` while the server can't be reached (it goes on trying).
 * Rejects with a Problem that waiting does not solve, or when `signal` aborts.
 */
export async function follow(id, { onJob, onPartial, onTrouble, signal, isStreamed = true }) {
  const ending = new AbortController();
  const bell = new Bell();
  const stop = AbortSignal.any([signal, ending.signal]);
  if (isStreamed && numStreams < MAX_STREAMS) stream(id, onPartial, bell, stop);
  try {
    return await look(id, { onJob, onTrouble, bell, signal });
  } finally {
    ending.abort();
  }
}

async function look(id, { onJob, onTrouble, bell, signal }) {
  for (let failures = 0; ; ) {
    try {
      const job = await readJob(id, signal);
      failures = 0;
      onJob(job);
      if (TERMINAL.has(job.status)) return job;
    } catch (problem) {
      if (signal.aborted || (problem.status > 0 && problem.status < 500)) throw problem;
      onTrouble(problem);
      failures += 1;
    }
    await bell.wait(failures ? pauseMs(failures) : LOOK_MS, signal);
  }
}

async function stream(id, onPartial, bell, signal) {
  let lastId = "0";
  numStreams += 1;
  for (let failures = 0; !signal.aborted && failures < 6; failures += 1) {
    try {
      for await (const { event, data, id: eventId } of readEvents(await openEvents(id, lastId, signal))) {
        lastId = eventId ?? lastId;
        failures = 0;
        if (event === "partial_image") onPartial(data);
        bell.ring();
        if (TERMINAL.has(event)) signal = AbortSignal.abort();
      }
    } catch {
      // The looks go on and report what is wrong; the stream just tries again.
    }
    if (!signal.aborted) await new Bell().wait(pauseMs(failures), signal).catch(() => {});
  }
  numStreams -= 1;
}

/** Cuts a pause short. */
class Bell {
  ring = () => {};

  wait(ms, signal) {
    return new Promise((resolve, reject) => {
      const leave = () => reject(signal.reason);
      const timer = setTimeout(() => this.ring(), ms);
      this.ring = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", leave);
        resolve();
      };
      if (signal.aborted) leave();
      signal.addEventListener("abort", leave, { once: true });
    });
  }
}
