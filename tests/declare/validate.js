// Reads a JSON object of names and machines, and writes what asl-validator has against each.
const validate = require("asl-validator");
const machines = JSON.parse(require("fs").readFileSync(0, "utf8"));
const told = Object.entries(machines).map(([name, machine]) => {
  const { isValid, errorsText } = validate(machine, { checkPaths: true, checkArn: true });
  return [name, isValid ? "" : errorsText("; ")];
});
process.stdout.write(JSON.stringify(Object.fromEntries(told)));
