// What went wrong, in words for a person, with the way out. Knows codes, not how they are shown.

const NO_PLACE = (what) => (problem) => ({
  title: what,
  way: problem.retryAfter
    ? `By the speed of the last minute, there is room again in about ${problem.retryAfter} s.`
    : "Try again in a moment.",
});

const WORDS = {
  queue_full: NO_PLACE("The queue is full."),
  rate_limit_exceeded: ({ retryAfter }) => ({
    title: "That was too fast for this API key, or for all who come without one.",
    way: retryAfter ? `The next job may be sent in about ${retryAfter} s.` : "Try again in a moment.",
  }),
  key_share_exceeded: NO_PLACE("This API key has as many pictures on the way as it may have."),
  uploads_full: () => ({
    title: "The server has many pictures to read just now.",
    way: "Try again in a moment.",
  }),
  no_worker: () => ({
    title: "Nobody is here to draw.",
    way: "No worker with this model is alive. It may be starting: try again in a moment, or choose " +
      "another model. Whoever runs the server finds the reason in the worker's log.",
  }),
  no_worker_for_pictures: () => ({
    title: "This model can't begin with a picture now.",
    way: "Workers of an older release serve it, too. Try again when they are replaced, or draw without the picture.",
  }),
  queue_unavailable: () => ({
    title: "The server can't reach its queue.",
    way: "It reconnects by itself. Try again in a moment.",
  }),
  draining: () => ({ title: "The server is shutting down.", way: "Try again when it is back." }),
  network: () => ({
    title: "The server can't be reached.",
    way: "Check that it runs and that you are online. Nothing you typed is lost.",
  }),
  proxy: (problem) => ({
    title: `Something in front of the server answered ${problem.status}.`,
    way: "Try again in a moment.",
  }),
  invalid_api_key: () => ({
    title: "This server wants an API key.",
    way: "Type one in the field of the form, then try again.",
  }),
  model_not_found: () => ({ title: "This model is not here.", way: "Choose another one." }),
  job_not_found: () => ({
    title: "The server no longer has this job.",
    way: "Ended jobs are kept for a while only. The same settings make the same picture again.",
  }),
  cancelled: () => ({ title: "Cancelled.", way: "Draw it again whenever you like." }),
  expired: () => ({
    title: "Its time was over before it was drawn.",
    way: "The server was too busy, or nobody was here to draw. Try again, or ask for fewer candidates.",
  }),
  unsent: () => ({
    title: "This was never sent.",
    way: "The page was closed before the server took it. Try again.",
  }),
  picture_gone: () => ({
    title: "The picture that this began with is not kept.",
    way: "Use these settings, choose that picture again and draw.",
  }),
  other_model: ({ message: model }) => ({
    title: `This was made by ${model}, which nobody serves here now.`,
    way: "The form has its settings; drawn by another model they make another picture.",
  }),
  no_picture: () => ({
    title: "This file is no picture that can be read here.",
    way: "Choose a PNG, JPEG or WebP.",
  }),
  no_settings: () => ({
    title: "This file holds no settings.",
    way: "Only PNG pictures made by this service carry them, and only if no program has rewritten the file. " +
      "A picture to begin with is a PNG, JPEG or WebP, and not every model takes one.",
  }),
  internal_error: () => ({
    title: "The server made a mistake.",
    way: "Try again; if it comes back, whoever runs the server finds the reason in its log.",
  }),
};

/** {title, way, retryAfter}: a headline, what to do now, and after how many seconds it may work. */
export function inWords(problem) {
  const { title, way } = (WORDS[problem.code] ?? fallback)(problem);
  return { title, way, retryAfter: problem.retryAfter ?? null };
}

function fallback(problem) {
  if (problem.status === 503 && problem.code?.startsWith("queue_")) {
    return { title: problem.message, way: "Whoever runs the server finds what to do in its log." };
  }
  const isField = problem.status === 400;
  return {
    title: problem.message || "This did not work.",
    way: isField ? "Change the setting and draw again." : "Try again, or try another prompt.",
  };
}

/** The problem of a job that ended without a picture. */
export function problemOfJob(job) {
  if (job.status === "failed") return { status: 0, ...job.error };
  return { code: job.status, status: 0 };
}
