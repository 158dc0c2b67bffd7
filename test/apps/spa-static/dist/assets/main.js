// Shows the path that the browser asked for: every path is answered with the same page.
const line = document.createElement('p');
line.textContent = `You are at ${location.pathname}`;
document.body.append(line);
