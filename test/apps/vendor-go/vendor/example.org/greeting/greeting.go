// Package greeting is a dependency that is kept in the vendor folder.
package greeting

// Text is what the server says.
const Text = "hello from a vendored module"
