// Asks the cache at argv[2] through openai for Node and the Vercel AI SDK, whole and streamed; prints what each gave.
"use strict";
const OpenAI = require("openai");
const { generateText, streamText, tool, jsonSchema } = require("ai");
const { createOpenAI } = require("@ai-sdk/openai");
const { createAnthropic } = require("@ai-sdk/anthropic");

const [base, key] = process.argv.slice(2);
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const messages = [{ role: "user", content: "What is the weather?" }];

async function withOpenAI() {
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
  const chat = { model: "chat-model", messages };
  const response = { model: "response-model", input: "What is the weather?" };
  return {
    chat: {
      whole: (await client.chat.completions.create(chat)).choices,
      streamed: (await client.chat.completions.stream(chat).finalChatCompletion()).choices,
    },
    responses: {
      whole: (await client.responses.create(response)).output,
      streamed: (await client.responses.stream(response).finalResponse()).output,
    },
  };
}

async function withVercel(model) {
  const tools = { weather: tool({ description: "the weather", inputSchema: jsonSchema(schema) }) };
  // Without toolStreaming false, the streamed request asks Anthropic for another beta than the whole one.
  const providerOptions = { anthropic: { toolStreaming: false } };
  const asked = { model, tools, providerOptions, prompt: "What is the weather?", maxRetries: 0, maxOutputTokens: 500 };
  const pick = (text, reasoning, calls, finish) => ({
    text,
    reasoning,
    calls: calls.map((call) => [call.toolCallId, call.toolName, call.input]),
    finish,
  });
  const whole = await generateText(asked);
  const streamed = streamText({ ...asked, onError: ({ error }) => { throw error; } });
  await streamed.consumeStream();
  return {
    whole: pick(whole.text, whole.reasoningText, whole.toolCalls, whole.finishReason),
    streamed: pick(await streamed.text, await streamed.reasoningText, await streamed.toolCalls, await streamed.finishReason),
  };
}

async function main() {
  const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: key });
  const anthropic = createAnthropic({ baseURL: `${base}/v1`, apiKey: key });
  return {
    openai: await withOpenAI(),
    "ai chat": await withVercel(openai.chat("chat-model")),
    "ai responses": await withVercel(openai.responses("response-model")),
    "ai anthropic": await withVercel(anthropic("claude-model")),
  };
}

main().then((results) => console.log(JSON.stringify(results)), (error) => { console.error(error); process.exit(1); });
