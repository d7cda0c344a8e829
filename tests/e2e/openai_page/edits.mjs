// OpenAI's client in Node: an edit, a streamed edit and a variation; what came is printed as JSON.

import { createReadStream } from "node:fs";

import OpenAI from "openai";

const [server, image, mask] = process.argv.slice(2);
const { images } = new OpenAI({ baseURL: `${server}/v1`, apiKey: "unused", maxRetries: 0 });
const files = () => ({ image: createReadStream(image), mask: createReadStream(mask) });
const prompt = "a red cube";

const edited = await images.edit({ ...files(), prompt, n: 2, response_format: "b64_json" });
const streamed = [];
for await (const event of await images.edit({ ...files(), prompt, stream: true, partial_images: 2 })) {
  streamed.push([event.type, event.b64_json]);
}
const varied = await images.createVariation({ image: createReadStream(image), n: 2, response_format: "b64_json" });

console.log(JSON.stringify({
  edited: edited.data.map((made) => made.b64_json),
  streamed,
  varied: varied.data.map((made) => made.b64_json),
}));
