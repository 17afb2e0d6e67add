// Notes: POST / keeps the body as a note, GET / lists all notes, GET /health asks the database. psql stands in for a driver, so that nothing has to be installed.
const http = require("node:http");
const { execFile } = require("node:child_process");

function query(text, note, answer) {
  const argv = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", `--set=note=${note}`];
  // psql puts variables in only where it reads standard input, not in --command.
  execFile("psql", argv, answer).stdin.end(text);
}

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const list = "select text from note order by id;";
    const text = request.url === "/health" ? "select 1;" : request.method === "POST" ? `insert into note (text) values (:'note'); ${list}` : list;
    query(text, body, (error, out, err) => {
      response.statusCode = error ? 503 : 200;
      response.end(error ? err : out);
    });
  });
});

process.on("SIGTERM", () => server.close(() => process.exit(0)));
server.listen(Number(process.env.PORT), "127.0.0.1");
