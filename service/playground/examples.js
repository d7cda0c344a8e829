// Prompts to begin with, by model. A model that is not named gets those of its kind.

const BY_MODEL = {
  emoji: ["red heart", "cool face", "green apple", "pizza", "sunflower", "penguin", "tulip", "birthday cake"],
  "emoji-hq": ["a robot", "an elephant", "a pizza", "a penguin", "a sunflower", "a guitar", "a dog next to a tree", "three stars"],
  "mindalle-1.3b": ["a painting of a cat with sunglasses in the frame", "a snowy owl in a birch forest",
    "an armchair in the shape of an avocado", "sunset over a lake with mountains"],
  "mindalle-imagenet-class": [
    { id: 207, name: "golden retriever" }, { id: 949, name: "strawberry" }, { id: 980, name: "volcano" },
    { id: 281, name: "tabby cat" }, { id: 985, name: "daisy" }, { id: 820, name: "steam locomotive" }],
};
const OF_TEXT = ["a red apple", "a blue bird", "a house by the sea", "a yellow flower"];

/** A list of {prompt, text}: what goes into the form, and what the button says. */
export function examplesFor(model) {
  const own = BY_MODEL[model.id];
  if (model.prompt_kind === "text") return (own ?? OF_TEXT).map((text) => ({ prompt: text, text }));
  if (model.prompt_kind === "none") return [];
  return (own ?? someClasses(model.num_classes)).map(({ id, name }) => ({ prompt: id, text: name ?? String(id) }));
}

function someClasses(count) {
  const ids = [0, count / 3, (2 * count) / 3, count - 1].map(Math.floor);
  return [...new Set(ids)].map((id) => ({ id }));
}
