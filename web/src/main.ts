import { mount } from "svelte";

import "./app.css";
import App from "./App.svelte";
import { app } from "./lib/app.svelte";
import { firstLanguage, words } from "./words/words.svelte";

await Promise.all([words.use(firstLanguage()), app.start()]);
mount(App, { target: document.getElementById("app")! });
