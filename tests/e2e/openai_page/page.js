// What a front end does with OpenAI's client, one function a deed; the test calls them by name.

import OpenAI, { APIError } from "openai";

const prompt = "a red cube";

function client(server, options = {}) {
  return new OpenAI({
    baseURL: `${server}/v1`,
    apiKey: "unused",
    dangerouslyAllowBrowser: true,
    maxRetries: 0,
    ...options,
  });
}

async function widthOf(base64) {
  const file = await (await fetch(`data:image/png;base64,${base64}`)).blob();
  return (await createImageBitmap(file)).width;
}

async function generate(server) {
  const request = client(server).images.generate({ prompt, n: 2, response_format: "b64_json" });
  const { data, response, request_id } = await request.withResponse();
  return {
    widths: await Promise.all(data.data.map((image) => widthOf(image.b64_json))),
    requestId: request_id,
    jobId: response.headers.get("x-mindalle-job-id"),
    remaining: response.headers.get("x-ratelimit-remaining-requests"),
  };
}

async function stream(server) {
  const events = await client(server).images.generate({ prompt, stream: true, partial_images: 2 });
  const seen = [];
  for await (const event of events) seen.push([event.type, await widthOf(event.b64_json)]);
  return seen;
}

async function refused(server) {
  try {
    await client(server).images.generate({ prompt, n: 11 });
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const { status, code, param, requestID } = error;
    return { status, code, param, requestID };
  }
}

// Counts its tries: the client reads from Retry-After how long to wait between them.
async function patient(server) {
  const statuses = [];
  const counting = async (...request) => {
    const answer = await fetch(...request);
    statuses.push([answer.status, answer.headers.get("retry-after") !== null]);
    return answer;
  };
  const { data } = await client(server, { maxRetries: 3, fetch: counting }).images.generate({ prompt });
  return { statuses, url: data[0].url };
}

async function jobs(server) {
  const api = client(server);
  const headers = { "idempotency-key": "page-1" };
  const queued = await api.post("/jobs", { body: { prompt }, headers }).asResponse();
  const { id } = await queued.json();
  const events = await fetch(`${server}/v1/jobs/${id}/events`, { headers: { "last-event-id": "0" } });
  const names = [...(await events.text()).matchAll(/^event: (.+)$/gm)].map((match) => match[1]);
  const ended = await api.delete(`/jobs/${id}`);
  return { location: queued.headers.get("location"), id, last: names.at(-1), status: ended.status };
}


globalThis.deeds = { generate, stream, refused, patient, jobs };
