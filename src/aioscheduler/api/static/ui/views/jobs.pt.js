export default {
  "This view is being built": "Esta visão está sendo construída",
};
