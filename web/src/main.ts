import { mount } from "svelte";

import "./app.css";
import App from "./App.svelte";
import { app } from "./lib/app.svelte";
import { firstLanguage, words } from "./words/words.svelte";

const started = app.start();
await words.use(firstLanguage());
const target = document.getElementById("app")!;
target.replaceChildren(); // What index.html showed while this file was on its way.
mount(App, { target });
await started;
