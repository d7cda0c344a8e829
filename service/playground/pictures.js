// Keeps the picture files themselves (IndexedDB), for when the server has let go of them. Best
// effort: a browser that forbids it shows the server's pictures as long as they last.

import { imageUrl, readImage } from "./api.js";

const FILES = "files";
const name = (jobId, rank) => `${jobId}/${rank}`;
const span = (jobId) => IDBKeyRange.bound(`${jobId}/`, `${jobId}/~`);
const urls = new Map(); // of kept files, by name: a download needs its address as long as the picture is shown
let opened = null;

const promised = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

async function files(mode) {
  opened ??= (() => {
    const opening = indexedDB.open("mindalle", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(FILES);
    return promised(opening);
  })();
  return (await opened).transaction(FILES, mode).objectStore(FILES);
}

/** The address of a kept file; null where none is kept. */
async function keptUrl(at) {
  if (urls.has(at)) return urls.get(at);
  const file = await files("readonly").then((store) => promised(store.get(at))).catch(() => null);
  if (!file) return null;
  if (!urls.has(at)) urls.set(at, URL.createObjectURL(file));
  return urls.get(at);
}

function revokeUrls(jobId) {
  for (const at of [...urls.keys()].filter((key) => key.startsWith(`${jobId}/`))) {
    URL.revokeObjectURL(urls.get(at));
    urls.delete(at);
  }
}

/** Fetch and keep all pictures of a job that has just succeeded. */
export async function keepPictures(job) {
  for (const { rank } of job.images) {
    try {
      const file = await readImage(job.id, rank);
      await promised((await files("readwrite")).put(file, name(job.id, rank)));
    } catch {
      return;
    }
  }
}

export async function forgetPictures(jobIds) {
  jobIds.forEach(revokeUrls);
  try {
    for (const id of jobIds) await promised((await files("readwrite")).delete(span(id)));
  } catch {
    // What was never kept need not be forgotten.
  }
}

/** Show a picture coarser than it is, as a `view` such as "depth=1" says; the server alone has those. */
export function showView(img, job, rank, view, onGone) {
  img.onerror = onGone;
  img.src = imageUrl(job.id, rank, view);
}

/** Show a picture in `img`: from the server while it has it, else the kept file, else `onGone`. */
export function showPicture(img, job, rank, onGone) {
  const showKept = async () => {
    const url = await keptUrl(name(job.id, rank));
    if (!url) return onGone();
    img.onerror = onGone;
    img.src = url;
  };
  if (job.expires_at && job.expires_at * 1000 < Date.now()) return void showKept();
  img.onerror = showKept;
  img.src = imageUrl(job.id, rank);
}
