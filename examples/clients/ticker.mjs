// The status of Connex, and the first frames of a market's order book, as one JSON document:
//
//     node ticker.mjs ETH/USDT 5

import { createHmac } from "node:crypto";

const {
  CONNEX_REST_URL: restUrl,
  CONNEX_WS_URL: wsUrl,
  CONNEX_API_KEY: key,
  CONNEX_API_SECRET: secret,
} = process.env;

async function status() {
  const response = await fetch(`${restUrl}/v1/status`, {
    headers: { "X-CONNEX-API-KEY": key, "X-CONNEX-API-SECRET": secret },
  });
  if (!response.ok) throw new Error(`the status is answered with ${response.status}`);
  return (await response.json()).status;
}

function authentication() {
  const nonce = String(Date.now());
  const signature = createHmac("sha256", secret).update(nonce + key).digest("hex");
  return { action: "authenticate", data: { apiKey: key, nonce, signature } };
}

function frames(symbol, wanted) {
  return new Promise((resolve, reject) => {
    const seen = [];
    const socket = new WebSocket(wsUrl);
    const say = (message) => socket.send(JSON.stringify(message));
    socket.onopen = () => say(authentication());
    socket.onerror = () => reject(new Error("the connection failed"));
    socket.onclose = ({ code }) => reject(new Error(`the connection was closed with ${code}`));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.event === "error") reject(new Error(frame.message));
      if (frame.event === "authenticated") say({ action: "subscribe", channel: "orderbook", symbol, depth: 5 });
      if ("bids" in frame) seen.push(frame);
      if (seen.length === wanted) {
        socket.onclose = () => resolve(seen);
        socket.close(1000);
      }
    };
  });
}

const [symbol, wanted] = process.argv.slice(2);
console.log(JSON.stringify({ status: await status(), frames: await frames(symbol, Number(wanted)) }));
