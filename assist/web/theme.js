// Takes ?theme=dark or ?theme=light over the system's wish, before the first paint.
"use strict";
{
  const theme = new URLSearchParams(location.search).get("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}
